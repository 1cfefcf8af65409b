// A card with a table in it, which can be scrolled with the keys where it is wider than its card.
// Lives here: title, head and frame. Not here: the rows, which belong to the page.

import { el } from "./dom.js";

// The head of a table; names that begin with # are of columns of numbers.
export const head = (names) =>
  el("thead", {}, el("tr", {}, ...names.map((name) => el(name.startsWith("#") ? "th.n" : "th", {}, name.replace("#", "")))));

// A table in its frame. kind: how the table is written, such as table.figures.
export const framed = (label, names, rows, kind = "table") =>
  el("div.table", { tabindex: "0", role: "group", "aria-label": label }, el(kind, {}, head(names), rows));

// before: what stands between the title and the table.
export const tableCard = (title, names, rows, { kind = "table", before = [] } = {}) =>
  el("section.card.drawer", {}, el("h2", {}, title), ...before, framed(title, names, rows, kind));
