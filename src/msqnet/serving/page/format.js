/** Numbers, labels and messages as people read them. */

export const { byId, make } = window.msqnet;

export function formatBytes(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  const value = bytes / 1000 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toPrecision(2)} ${units[power]}`;
}

export function formatDuration(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 3600) {
    const rest = Math.round(seconds % 60);
    return `${Math.floor(seconds / 60)} min${rest ? ` ${rest} s` : ""}`;
  }
  return `${Number((seconds / 3600).toFixed(1))} h`;
}

export function formatPercent(share) {
  return `${Math.round(100 * share)} %`;
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A label as it is shown: underscores are spaces. */
export function spoken(label) {
  return label.replaceAll("_", " ");
}

/** A message of the server as a sentence. A file name at its start stays as it is. */
export function sentence(message) {
  const isName = /^\S*[.:]/.test(message.split(" ", 1)[0]);
  const start = isName ? message.slice(0, 1) : message.slice(0, 1).toUpperCase();
  return start + message.slice(1) + (/[.!?]$/.test(message) ? "" : ".");
}
