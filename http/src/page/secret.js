// Requests to this page's own server, with the secret where it wants one. It is kept for this tab, and goes with it.

import { h } from "./dom.js";

const KEPT = "weir-secret";

/** Like `fetch`, for so many milliseconds, with the secret if it is known. */
export function request(path, patience, options = {}) {
  const secret = sessionStorage.getItem(KEPT);
  const headers = { ...options.headers };
  if (secret !== null) headers.authorization = `Bearer ${asBytes(secret)}`;
  return fetch(path, { ...options, headers, signal: AbortSignal.timeout(patience), cache: "no-store" });
}

/** Asks whoever looks at the page for the secret. Tells whether there is one now. */
export function askForSecret(why) {
  const field = h("input", { type: "password", autocomplete: "current-password", "aria-label": "Secret" });
  const yes = h("button", { type: "button" }, "Use it");
  const no = h("button", { type: "button" }, "Leave it");
  const dialog = h("dialog", { "aria-label": "The secret is needed" },
    h("h2", null, "The secret is needed"), h("p", null, why), h("p", null, field), h("div", { class: "buttons" }, no, yes));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answer) => {
    yes.addEventListener("click", () => dialog.close(field.value.trim()));
    no.addEventListener("click", () => dialog.close(""));
    field.addEventListener("keydown", ({ key }) => { if (key === "Enter") dialog.close(field.value.trim()); });
    dialog.addEventListener("close", () => {
      const secret = dialog.returnValue;
      dialog.remove();
      if (secret !== "") sessionStorage.setItem(KEPT, secret);
      answer(secret !== "");
    });
  });
}

/** A header holds bytes: those of the text in UTF-8. */
function asBytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
