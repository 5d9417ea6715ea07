/** What the page of `msqnet serve` and the report both build on; runs before the other scripts. */
(function () {
  "use strict";

  function byId(id) {
    return document.getElementById(id);
  }

  /** An element with a class and text; text is never taken for markup. */
  function make(tag, className = "", text = undefined) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /** The bytes of base64 text. */
  function bytesOf(base64) {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  }

  /** Whether the page is dark: the choice on the page overrules the system. */
  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  window.msqnet = { byId, make, bytesOf, isDark };
})();
