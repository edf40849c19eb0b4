/**
 * Errors as one line at the bottom, read out at once, gone after a while or when dismissed.
 * @module
 */

const SHOWN_MS = 8000;
const MOST = 3;

/** @param {string} text */
export function toast(text) {
  const place = document.getElementById("toasts");
  const words = text.charAt(0).toUpperCase() + text.slice(1);
  for (const same of [...place.children].filter((child) => child.firstChild.textContent === words)) same.remove();
  const box = Object.assign(document.createElement("div"), { className: "toast" });
  box.setAttribute("role", "alert");
  const line = Object.assign(document.createElement("span"), { textContent: words });
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => box.remove());
  box.append(line, close);
  place.append(box);
  while (place.children.length > MOST) place.firstElementChild.remove();
  setTimeout(() => box.remove(), SHOWN_MS);
}
