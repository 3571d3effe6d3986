// @ts-check
/* The sources of components: the server, or the blocks of a file. */

/* Both sources have text(n, name) and image(n) for the number of a step; image(n) gives a URL for <img>. They throw
   Missing if there is no such component. about() gives the text of the session's metadata. For attachments, n is null
   if they are those of the session. */

function liveSource(session, steps) {
  const base = `/sessions/${encodeURIComponent(session)}`;
  const directory = (n) => (n === null ? base : path(n)) + "/attachments";
  const path = (n, name) => `${base}/${encodeURIComponent(steps[n])}${name ? "/" + name : ""}`;

  async function get(url) {
    let response;
    try {
      response = await fetch(url, { cache: "no-store" });
    } catch {
      throw new Error("The server does not answer. Is it still running?");
    }
    if (response.ok) return response;
    const reason = await response.text();
    throw response.status === 404 ? new Missing(reason) : new Error(reason || `The server answered ${response.status}.`);
  }

  return {
    link: (n) => path(n),
    raw: (n, name) => path(n, name),
    async text(n, name) {
      const since = name === "changes" && n ? `?since=${encodeURIComponent(steps[n - 1])}` : "";
      return (await get(path(n, name) + since)).text();
    },
    async image(n) {
      const blob = await (await get(path(n, "screenshot"))).blob();
      return { url: URL.createObjectURL(blob), size: blob.size };
    },
    about: async () => (await get(`/api${base}/metadata`)).text(),
    attachments: async (n) => (await get(`/api${directory(n)}`)).json(),
    attachmentLink: (n, name) => `${directory(n)}/${encodeURIComponent(name)}`,
    attachment: async (n, name) => get(`${directory(n)}/${encodeURIComponent(name)}`),
  };
}

function fileSource(steps, { metadata, attachments }) {
  const pause = () => new Promise((done) => setTimeout(done, 20));

  async function block(n, name) {
    const find = () => document.getElementById(`c-${n}-${name}`);
    const isPast = () => document.getElementById(`c-${n}-changes`);  // the last block of a step; every step has it
    while (!isPast() && !find()?.nextSibling && document.readyState === "loading") await pause();  // until the browser has read it
    const node = find();
    if (!node) throw new Missing(`This step has no ${name === "html" ? "HTML" : name}.`);
    if (node.dataset.kind === "error") throw new Error(JSON.parse(node.textContent));
    return node;
  }

  return {
    link: (n) => `${location.href.split("#")[0]}#${encodeURIComponent(steps[n])}`,
    raw: () => null,
    async text(n, name) {
      const node = await block(n, name);
      return node.dataset.kind === "json" ? node.textContent : JSON.parse(node.textContent);
    },
    async image(n) {
      const node = await block(n, "screenshot");
      return { url: `data:${node.dataset.kind};base64,${node.textContent}`, size: node.textContent.length };
    },
    async about() {
      if (metadata === null) throw new Missing("This session has no metadata.");
      if (metadata.error) throw new Error(metadata.error);
      return metadata.text;
    },
    attachments: async () => ({ attachments: [], more: attachments }),
  };
}

/* Keep the latest results, up to `most` bytes. Several calls for the same step wait for one answer. */
function remembering(load, most, forget = () => {}) {
  const kept = new Map();
  let size = 0;
  const trim = (keep) => {
    for (const [key, entry] of kept) {
      if (size <= most) return;
      if (key === keep || !entry.value) continue;
      kept.delete(key);
      size -= entry.value.size;
      forget(entry.value);
    }
  };
  const get = (n) => {
    const entry = kept.get(n);
    if (entry) { kept.delete(n); kept.set(n, entry); return entry.promise; }
    const fresh = { value: null, promise: load(n) };
    kept.set(n, fresh);
    fresh.promise.then((value) => { fresh.value = value; size += value.size; trim(n); }, () => kept.delete(n));
    return fresh.promise;
  };
  get.peek = (n) => kept.get(n)?.value ?? null;
  return get;
}
