// Numbers and words for people.

export const DASH = "–";

export const title = (word) => word.charAt(0).toUpperCase() + word.slice(1);

export const percent = (part) => `${Math.round(100 * part)}%`;

export const number = (value, digits = 0) =>
  value === null || value === undefined
    ? DASH
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** "42 s", "3 min", "2 h 05 min", "4 d 3 h" */
export function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (hours < 1) return `${minutes} min`;
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Set text only when it changes, so that nothing is laid out again for nothing. */
export function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export function make(tag, className, parent) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent?.append(element);
  return element;
}
