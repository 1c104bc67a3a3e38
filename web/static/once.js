/* A form that changes something is sent once, however often its button is pressed. The server knows this by itself as
 * well; here it spares the reader a page about it. What answers with a file, or comes back by the back button, can be
 * sent again.
 */

const AGAIN_MS = 4000;

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, AGAIN_MS);
});

addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});
