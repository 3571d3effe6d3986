"""The script that inspects a page, watches it for changes, and copies it. It changes nothing in the page."""

__all__ = ["COPY", "COVER", "END", "LOOK", "READER", "UNCOVER"]

COVER_NAME = "storage-manager-cover"

# A function that returns the parts of the reader of a page:
# look: return the sizes that relate the pixels of the page to those of the screenshot, the title, and the number of
#     things that `content()` leaves out: open shadow roots, elements in the top layer (modal dialogs and open
#     popovers), and frames.
# watch: begin to watch for changes of the document, its open shadow roots and its frames of the same origin. An event
#     whose name is the secret ends the watch. Its detail then says if anything changed, and how often somebody typed.
# copy: return the markup of the document, copied into a document that runs nothing and loads nothing. `parts` has
#     the frames of the same origin by their marks, which are in the markup as `data-recorded-srcdoc`. The argument
#     `elements` has the elements of other frames, and `marks` has their marks.
READER = """secret => {
    const states = [["modal", ":modal"], ["popover-open", ":popover-open"]]
        .filter(([, selector]) => CSS.supports(`selector(${selector})`));
    const top = states.map(([, selector]) => selector).join();
    const inside = element => {
        try { return element.localName === "iframe" ? element.contentDocument : null; } catch { return null; }
    };
    const isFrame = element => ["iframe", "frame"].includes(element.localName)
        || (element.localName === "object" && element.contentWindow);
    const survey = () => {
        const roots = [document], extras = {shadow: 0, top: 0, frames: 0};
        for (const root of roots) {
            if (top) extras.top += root.querySelectorAll(top).length;
            for (const element of root.querySelectorAll("*")) {
                if (element.shadowRoot) { extras.shadow++; roots.push(element.shadowRoot); }
                if (isFrame(element)) extras.frames++;
                const inner = inside(element);
                if (inner) roots.push(inner);
            }
        }
        return {roots, extras};
    };
    const look = () => ({
        viewport: {width: innerWidth, height: innerHeight},
        device_pixel_ratio: devicePixelRatio,
        scroll: {x: scrollX, y: scrollY},
        title: document.title,
        extras: survey().extras,
    });

    let changes = 0, typed = 0, watched = [], started = 0;
    const isCover = node => node.localName === "x-pw-glass" || node.localName === "COVER_NAME";
    const isOther = record => record.type !== "childList"
        || ![...record.addedNodes, ...record.removedNodes].every(isCover);
    const onTyped = () => { typed++; };
    const stop = () => {
        observer.disconnect();
        document.removeEventListener(secret, onEnd);
        for (const root of watched) root.removeEventListener("input", onTyped, true);
        watched = [];
    };
    const onChanged = records => {
        if (records.some(isOther)) changes++;
        if (Date.now() - started > 60000) stop();
    };
    const observer = new MutationObserver(onChanged);
    const watch = () => {
        started = Date.now();
        document.addEventListener(secret, onEnd);
        for (const root of survey().roots) {
            observer.observe(root, {subtree: true, childList: true, attributes: true, characterData: true});
            root.addEventListener("input", onTyped, {capture: true, passive: true});
            watched.push(root);
        }
    };
    const onEnd = event => {
        onChanged(observer.takeRecords());
        stop();
        event.detail.end = {changed: changes > 0, typed, look: look()};
    };

    const copy = ({elements, marks, prefix, characters}) => {
        const places = new Map(elements.map((element, i) => [element, marks[i]]));
        const placed = [], parts = {}, absent = [];
        let count = 0;
        const keepState = (from, to) => {
            for (const [state, selector] of states) {
                if (!from.matches(selector) || from === from.ownerDocument.fullscreenElement) continue;
                const shown = from.ownerDocument.defaultView.getComputedStyle(from);
                to.setAttribute("data-recorded", state);
                for (const name of ["display", "position", "inset", "margin"]) to.style[name] = shown[name];
                to.style.zIndex = 2147483647;
            }
        };
        const keepFrame = (from, to) => {
            let mark = places.get(from);
            const inner = !mark && prefix && inside(from);
            if (inner) {
                const html = markup(inner);
                characters -= html.length;
                if (characters < 0) return absent.push(from.src);
                mark = prefix + ++count + "-";
                parts[mark] = html;
            }
            if (!mark && isFrame(from)) absent.push(from.src || from.data);
            if (!mark || from.localName !== "iframe") return;
            to.removeAttribute("srcdoc");
            to.setAttribute("data-recorded-srcdoc", mark); // a page may forbid to set srcdoc (trusted types)
            placed.push(mark);
        };
        const shadow = (root, inert) => {
            const template = inert.createElementNS("http://www.w3.org/1999/xhtml", "template");
            template.setAttribute("shadowrootmode", root.mode);
            if (root.delegatesFocus) template.setAttribute("shadowrootdelegatesfocus", "");
            if (root.clonable) template.setAttribute("shadowrootclonable", "");
            if (root.serializable) template.setAttribute("shadowrootserializable", "");
            for (const child of root.childNodes) template.content.append(inert.importNode(child, true));
            complete([...root.querySelectorAll("*")], [...template.content.querySelectorAll("*")], inert);
            return template;
        };
        const complete = (live, made, inert) => live.forEach((from, i) => {
            const to = made[i];
            keepFrame(from, to);
            keepState(from, to);
            if (from.shadowRoot) to.prepend(shadow(from.shadowRoot, inert));
        });
        const markup = shown => {
            const inert = shown.contentType === "text/html"
                ? document.implementation.createHTMLDocument("") : document.implementation.createDocument(null, null);
            const root = shown.documentElement, type = shown.doctype;
            const start = type ? new XMLSerializer().serializeToString(type) : "";
            if (!root) return start;
            const made = inert.importNode(root, true);
            complete([root, ...root.querySelectorAll("*")], [made, ...made.querySelectorAll("*")], inert);
            return start + made.outerHTML;
        };
        return {html: markup(document), placed, parts, absent};
    };
    return {look, watch, copy};
}""".replace("COVER_NAME", COVER_NAME)

# Begin to watch, and return the answer of `look`.
LOOK = f"secret => {{ const reader = ({READER})(secret); reader.watch(); return reader.look(); }}"
# Copy, and begin to watch if a secret is given.
COPY = f"""given => {{
    const reader = ({READER})(given.secret);
    if (given.secret) reader.watch();
    return reader.copy(given);
}}"""
# End a watch, and return what it saw. Null if nothing watches: the page has another document by now.
END = """secret => {
    const detail = {end: null};
    document.dispatchEvent(new CustomEvent(secret, {detail}));
    return detail.end;
}"""

# Cover each given element with a box. The boxes are in the top layer, above modal dialogs, and styles of the page do
# not change them. They follow their elements, because a screenshot of the whole page has no scroll bars, which changes
# the layout. If an element cannot be covered, the script raises an error.
COVER = """elements => {
    const make = () => document.createElementNS("http://www.w3.org/1999/xhtml", "COVER_NAME");
    const host = make(), covered = [];
    const style = "all: initial; position: absolute; display: block; left: 0; top: 0; z-index: 2147483647";
    host.style.cssText = style.replaceAll(";", " !important;") + " !important";
    const shadow = host.attachShadow({mode: "closed"});
    for (const element of elements) {
        const cover = make();
        shadow.append(cover);
        covered.push([element, cover]);
    }
    const place = () => covered.forEach(([element, cover]) => {
        const box = element.getBoundingClientRect();
        cover.style.cssText = `position: absolute; background: #f0f; left: ${box.left + scrollX}px;
            top: ${box.top + scrollY}px; width: ${box.width}px; height: ${box.height}px`;
    });
    const follow = () => {
        if (!host.isConnected) return observer.disconnect();
        place();
        requestAnimationFrame(follow);
    };
    const observer = new ResizeObserver(place);
    document.documentElement.append(host);
    if (host.showPopover) {
        host.popover = "manual";
        host.showPopover();
    }
    for (const element of [document.documentElement, ...elements]) observer.observe(element);
    follow();
    const fits = ([element, cover]) => {
        const below = element.getBoundingClientRect(), above = cover.getBoundingClientRect();
        return ["left", "top", "width", "height"].every(name => Math.abs(below[name] - above[name]) < 1);
    };
    if (covered.every(fits)) return true;
    host.remove();
    throw new Error("the elements of mask cannot be covered in this page");
}""".replace("COVER_NAME", COVER_NAME)

# Remove all boxes.
UNCOVER = """() => {
    for (const cover of document.querySelectorAll("COVER_NAME")) cover.remove();
}""".replace("COVER_NAME", COVER_NAME)
