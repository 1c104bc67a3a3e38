/* The desk by single keys. They only move to things; nothing is decided without Enter on a button that has the focus.
 * They are silent while somebody types, with Ctrl, Alt or Meta, and when switched off (WCAG 2.2 section 2.1.4).
 */

const KEPT = "yumen-keys";
const one = (selector) => document.querySelector(selector);
const rows = [...document.querySelectorAll("[data-rows] tbody a")];
const help = one("[data-keys]");
const on = one("[data-keys-on]");

const go = (element) => element?.focus();
const follow = (element) => element?.click();

function along(step) {
  const here = rows.findIndex((link) => link === document.activeElement || link.closest("tr").contains(document.activeElement));
  go(rows[here < 0 ? 0 : Math.min(Math.max(here + step, 0), rows.length - 1)]);
}

const KEYS = {
  j: () => along(1),
  k: () => along(-1),
  "/": () => go(one("[data-search]")),
  a: () => go(one("[data-approve]")),
  r: () => go(one("[data-decide] input:not([type=hidden])")),
  n: () => follow(one("[data-next]")),
  u: () => follow(one(".crumb a")),
  "?": () => (help.open = !help.open),
};

function pressed(event) {
  const typing = event.target.closest("input, select, textarea");
  if (typing || event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(KEYS, event.key)) return;
  if (!on.checked && event.key !== "?") return;
  event.preventDefault();
  KEYS[event.key]();
}

if (help) {
  help.hidden = false;
  on.checked = localStorage.getItem(KEPT) !== "off";
  on.addEventListener("change", () => localStorage.setItem(KEPT, on.checked ? "on" : "off"));
  document.addEventListener("keydown", pressed);
}
