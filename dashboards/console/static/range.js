// Which stretch of time is looked at, kept in the address: `span=3h`, going on, or `from=…&to=…`, standing still.
// Lives here: reading it and the control that sets it. Not here: what is fetched for it.

import * as clock from "./clock.js";
import { el, text } from "./dom.js";
import { stamp, zone } from "./format.js";

const HOUR_MS = 3_600_000;
const SPANS = [
  ["30m", "last 30 min", HOUR_MS / 2],
  ["3h", "last 3 h", 3 * HOUR_MS],
  ["24h", "last 24 h", 24 * HOUR_MS],
  ["7d", "last 7 days", 168 * HOUR_MS],
  ["30d", "last 30 days", 720 * HOUR_MS],
];
const DEFAULT = "3h";
const LONGEST_MS = 400 * 24 * HOUR_MS;

/** The range that an address asks for: {start, end} in ms of the service's clock, span: its name or null, wrong: a
 * sentence where the address asks for one that cannot be. */
export function rangeOf(query) {
  const [from, to] = [query.get("from"), query.get("to")];
  const now = clock.now();
  let wrong = "";
  if (from || to) {
    const [start, end] = [Date.parse(from), to ? Date.parse(to) : now];
    if (Number.isFinite(start) && Number.isFinite(end) && start < end && end - start <= LONGEST_MS)
      return { start, end, span: null, wrong };
    wrong = "The link asks for a range that cannot be: it has to begin before it ends, by 400 days at most.";
  }
  const [span, , ms] = SPANS.find(([name]) => name === query.get("span")) ?? SPANS.find(([name]) => name === DEFAULT);
  return { start: now - ms, end: now, span, wrong };
}

/** Sets a range in the address: a fixed one. */
export function fix(route, start, end) {
  route.set({ from: new Date(start).toISOString(), to: new Date(end).toISOString(), span: null });
}

/** The control. */
export class Range {
  #route;

  constructor(route) {
    this.#route = route;
    this.choice = el(
      "select",
      { "aria-label": "Range", change: () => this.#choose() },
      ...SPANS.map(([name, words]) => el("option", { value: name }, words)),
      el("option", { value: "fixed" }, "from … to …"),
    );
    const field = (name) => el("input", { type: "datetime-local", step: 1, "aria-label": name, change: () => this.#set() });
    this.from = field("From");
    this.to = field("To");
    this.zone = el("span.sub");
    this.fixed = el("span.row", { hidden: true }, this.from, "to", this.to, this.zone);
    this.root = el("div.row", {}, this.choice, this.fixed);
  }

  update() {
    const { start, end, span } = rangeOf(this.#route.query);
    this.choice.value = span ?? "fixed";
    this.fixed.hidden = span !== null;
    text(this.zone, zone(start));
    if (span !== null || this.fixed.contains(document.activeElement)) return;
    this.from.value = local(start);
    this.to.value = local(end);
  }

  #choose() {
    if (this.choice.value !== "fixed") return this.#route.set({ span: this.choice.value, from: null, to: null });
    const { start, end } = rangeOf(this.#route.query);
    fix(this.#route, start, end);
  }

  #set() {
    const [start, end] = [Date.parse(this.from.value), Date.parse(this.to.value)];
    if (Number.isFinite(start) && Number.isFinite(end)) fix(this.#route, start, end);
  }
}

/** The viewer's time of an instant as a field or a chart takes it: "2026-11-23T13:00:00". */
export function local(ms) {
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** "13:00:00 to 16:00:00", with dates where they are others. */
export const words = ({ start, end }) => `${stamp(start)} to ${stamp(end)} ${zone(start)}`;
