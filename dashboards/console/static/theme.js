// The theme, before the first paint: loaded as a plain script so that the page never flashes in the wrong one.
// Lives here: reading and keeping the choice. Not here: the colours (console.css).
"use strict";
(() => {
  const KEY = "dcim.theme",
    ORDER = ["auto", "light", "dark"];
  const root = document.documentElement;
  const chosen = () => {
    const kept = localStorage.getItem(KEY);
    return ORDER.includes(kept) ? kept : "auto";
  };
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };
  window.dcimTheme = {
    chosen,
    /** The next of auto, light, dark; kept for this browser. */
    next() {
      const theme = ORDER[(ORDER.indexOf(chosen()) + 1) % ORDER.length];
      localStorage.setItem(KEY, theme);
      show(theme);
      return theme;
    },
  };
  show(chosen());
})();
