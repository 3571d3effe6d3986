// @ts-check
/* The viewer's front end: one session, live from the server or from the blocks of one file; and the list of sessions.

   Tests and other scripts can rely on these elements:
     <html data-theme="light|dark">        set when the user has chosen a theme; localStorage "storage-manager-theme"
     #theme                                the button that changes the theme
     list      #sessions tr[data-session]  a row; .steps, .size, .modified are filled in when the row is visible
               #search input[name=q]       the search; a[rel=prev], a[rel=next] lead to other pages
     session   body[data-step]             the current step; body[data-ready] is set when the first step is chosen
               #film a[data-step]          an action of the list (only those near the visible part exist); aria-current="step" on
                                           one; data-kind is set when it was read, data-failed if it failed
               #timeline [data-of]         a picture; [data-thumb=wanted|loaded|missing|failed]
               #timeline .tick             a step; [data-failed], [data-current]
               #previous #next #position   the stepper; #step-title, #summary, #address describe the step
               #play #speed #next-error #copy #keys   buttons; #help is a dialog, #said a message
               #find #found                search in the session, and how many steps it found
               button[data-view]           screenshot | page | changes | compare, with aria-pressed
               button[data-side]           before | after, with aria-pressed; #sides contains both
               #stage[data-view][data-state]   state: loading | shown | missing | failed
               #stage img.screenshot, .target-point, .target-box; iframe.page; .changes [data-sign]; .compare[data-mode]
               #story                      .banner for what failed, .prose for thoughts
               #action, #metadata          [data-state] as above; .json contains the text
               #attachments                [data-state] as above (live only); of the step
               #session-about              a details element, hidden if there is nothing to show; #session-summary
               #session-metadata, #session-attachments   [data-state] as above
               #sealed #live               whether the session is sealed, and whether it is followed
               .attachment[data-name]      an attachment; it has a details element with .content[data-state] if it can be
                                           shown here; a.raw opens or saves it
               a[data-raw]                 links to raw components (live only)
   Data is inserted into the document only as text nodes and attributes. Stored HTML is inserted only as the srcdoc of an
   iframe with sandbox="", under the Content-Security-Policy of this page. These two are the protection; `inert` is a
   second line of defence. */

function start() {
  startTheme();
  const data = document.querySelector("#session-data");
  if (data) startSession(JSON.parse(data.textContent ?? ""));
  else if (document.querySelector("#search")) startList();
}

// in a file, the script comes after the page and before the data, so that the first step does not wait for the last
if (document.readyState === "loading" && !document.querySelector("#session-data")) document.addEventListener("DOMContentLoaded", start);
else start();
