/* What the pages do with the key module. Every text comes from the page's own attributes, in its language. */

import { begin, finish, forget, waits, EnrolmentError } from "./enrol.js";

const MINIMUM_LENGTH = 12;
const LOOK_EVERY_MS = 2000;
const one = (selector) => document.querySelector(selector);

function reporter(form) {
  const [status, problem, button] = ["[data-status]", "[data-problem]", "button"].map((part) => form.querySelector(part));
  const tell = (text, wrong) => {
    status.textContent = wrong ? "" : text;
    problem.textContent = wrong ? text : "";
    problem.hidden = !wrong;
  };
  return {
    working: (text) => ((button.disabled = true), tell(text, false)),
    done: (text) => ((button.hidden = true), tell(text, false)),
    failed: (text) => ((button.disabled = false), tell(text, true)),
  };
}

/** Whether the server can be reached: a form that is sent into nothing would lose the page. */
const reachable = (address) => fetch(address, { method: "HEAD", cache: "no-store" }).then((answer) => answer.ok, () => false);

/** Screen two: the key is made and put to wait before its request leaves. Pressed again, the same request is sent. */
function enrolling(form) {
  const report = reporter(form);
  let made = null;
  const [password, again] = [form.querySelector("#password"), form.querySelector("#again")];
  form.hidden = false;
  one("[data-without-script]").hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (password.value.length < MINIMUM_LENGTH) return report.failed(form.dataset.short);
    if (password.value !== again.value) return report.failed(form.dataset.mismatch);
    report.working(form.dataset.making);
    try {
      if (made?.password !== password.value) made = { password: password.value, ...(await begin(password.value)) };
    } catch {
      return report.failed(form.dataset.failed);
    }
    if (!(await reachable(form.dataset.reach))) return report.failed(form.dataset.unreachable);
    form.elements.csr.value = made.csr;
    form.submit();
  });
}

/** Screen three, while the request is open: look for another state and show it. */
function waiting(part) {
  setInterval(async () => {
    const answer = await fetch(part.dataset.waiting, { headers: { Accept: "application/json" } }).catch(() => null);
    one("[data-unreachable]").hidden = answer !== null;
    if (answer?.redirected) location.reload(); // the session has ended: the page itself leads to the entrance
    if (!answer?.ok || answer.redirected) return;
    if ((await answer.json()).state !== part.dataset.state) location.reload();
  }, LOOK_EVERY_MS);
}

function offer(bytes, form) {
  const link = form.querySelector("[data-again]");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/x-pkcs12" }));
  link.download = form.dataset.file;
  link.hidden = false;
  link.click();
}

/** Screen three, when the certificate is there: one file, then the waiting key is deleted. */
async function finishing(form) {
  if (!(await waits(form.dataset.key))) return;
  const report = reporter(form);
  const password = form.querySelector("#password");
  form.hidden = false;
  one("[data-elsewhere]").hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    report.working(form.dataset.making);
    try {
      const chain = await (await fetch(form.dataset.chain)).text();
      const file = await finish(form.dataset.key, chain, password.value, form.dataset.named);
      offer(file, form);
      await forget(form.dataset.key);
      password.value = "";
      report.done(form.dataset.done);
    } catch (error) {
      const texts = { "wrong-password": form.dataset.wrongPassword, "no-key": form.dataset.noKey, "other-key": form.dataset.otherKey };
      report.failed((error instanceof EnrolmentError && texts[error.message]) || form.dataset.failed);
    }
  });
}

const parts = { enrol: one("[data-enrol]"), waiting: one("[data-waiting]"), finish: one("[data-finish]"), ended: one("[data-ended]") };
if (parts.enrol) enrolling(parts.enrol);
if (parts.waiting) waiting(parts.waiting);
if (parts.finish) finishing(parts.finish);
if (parts.ended) forget(parts.ended.dataset.ended);
