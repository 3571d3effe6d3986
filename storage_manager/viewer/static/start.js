// @ts-check
/* The viewer's front end: one session, live from the server or from the blocks of one file; and the list of sessions.

   Tests and other scripts can rely on these elements:
     <html data-theme="light|dark">        set when the user has chosen a theme; localStorage "storage-manager-theme"
     #theme                                the button that changes the theme
     list      #sessions tr[data-session]  a row; .steps, .size, .modified are filled in when the row is visible
               #search input[name=q]       the search; a[rel=prev], a[rel=next] lead to other pages
     session   body[data-step]             the current step; body[data-ready] is set when the first step is chosen
               #film a[data-step]          a step of the film strip (only steps near the visible part exist);
                                           aria-current="step" on one; [data-thumb=wanted|loaded|missing|failed]
               #previous #next #position   the stepper; #step-title, #summary, #address describe the step
               button[data-view]           screenshot | page | changes, with aria-pressed
               #stage[data-view][data-state]   state: loading | shown | missing | failed
               #stage img.screenshot, #stage iframe.page, #stage .changes [data-sign]
               #action, #metadata          [data-state] as above; .json contains the text
               #attachments                [data-state] as above (live only); of the step
               #session-about              a details element, hidden if there is nothing to tell; #session-summary
               #session-metadata, #session-attachments   [data-state] as above
               .attachment[data-name]      an attachment; it has a details element with .content[data-state] if it can be
                                           shown here; a.raw opens or saves it
               a[data-raw]                 links to raw components (live only)
   Data is inserted into the document only as text nodes and attributes. Stored HTML is inserted only as the srcdoc of an
   iframe with sandbox="", under the Content-Security-Policy of this page. These two are the protection; `inert` is a
   second line of defence. */

function start() {
  startTheme();
  const data = $("#session-data");
  if (data) startSession(JSON.parse(data.textContent));
  else if ($("#search")) startList();
}

// in a file, the script comes after the page and before the data, so that the first step does not wait for the last
if (document.readyState === "loading" && !$("#session-data")) document.addEventListener("DOMContentLoaded", start);
else start();
