/* A form that changes something is sent once, however often its button is pressed. The server knows this by itself as
 * well; here it spares the reader a page about it. What answers with a file, or comes back by the back button, can be
 * sent again. Without a network it is not sent at all: the browser's own page about that would lose what was typed.
 * A form that was refused is not sent again by going back or by loading anew: both ask for the page on which it stood.
 */

const AGAIN_MS = 4000;
const offline = document.querySelector("template[data-offline]").content.firstElementChild;
const { stoodOn } = document.documentElement.dataset;

if (stoodOn) history.replaceState(null, "", stoodOn);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  offline.remove();
  if (!navigator.onLine) {
    event.preventDefault();
    document.querySelector("main .width").prepend(offline);
    return offline.scrollIntoView({ block: "center" });
  }
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, AGAIN_MS);
});

addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});
