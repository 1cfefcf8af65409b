// What became of alarms: the journal, newest first, of a range. Lives here: its table, below the views of alarms.
// Not here: the alarms that stand (alarm-table.js).

import { get } from "./api.js";
import * as clock from "./clock.js";
import { save } from "./csv.js";
import { el, keyed, mark, text } from "./dom.js";
import { many, time } from "./format.js";
import { words } from "./names.js";

const PAGE = 200;
const REFRESH_MS = 10_000;
/** Ranges that can be looked at, h: the address keeps which. */
const RANGES = [
  [1, "last hour"],
  [8, "last 8 h"],
  [24, "last 24 h"],
  [168, "last 7 days"],
  [720, "last 30 days"],
];
const DEFAULT = 24;

export class AlarmJournal {
  #route;
  #choose;
  #shown = false;
  #filter = "";
  #asked = -Infinity;
  #items = [];
  #cursor = null;
  #hours = 0;

  constructor(route, choose) {
    this.#route = route;
    this.#choose = choose;
    this.range = el(
      "select",
      { "aria-label": "Range", change: () => route.set({ range: this.range.value }) },
      ...RANGES.map(([hours, name]) => el("option", { value: hours }, name)),
    );
    this.word = el("p.sub", { role: "status" });
    this.rows = el("tbody", { click: (e) => this.#pick(e) });
    this.table = el(
      "div.card.table.pick",
      {},
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el("tr", {}, ...["Priority", "What happened", "Alarm", "Who and why", "When"].map((name) => el("th", {}, name))),
        ),
        this.rows,
      ),
    );
    this.older = el("button", { type: "button", click: () => this.#more() }, "Older");
    this.root = el("section.drawer", { hidden: true }, el("div.row", {}, this.range, this.word), this.table, this.older);
    this.nodes = [this.root];
  }

  /** Shows or hides it, filtered. */
  show(shown, filter) {
    const asked = Number(this.#route.query.get("range"));
    const hours = RANGES.some(([known]) => known === asked) ? asked : DEFAULT;
    this.root.hidden = !shown;
    if (shown && (!this.#shown || hours !== this.#hours)) this.#asked = -Infinity;
    this.#shown = shown;
    this.#hours = hours;
    this.#filter = filter;
    this.range.value = String(hours);
    if (shown) this.#draw();
    this.beat();
  }

  /** Asks again; once a second. What is older stays as it was fetched. */
  beat() {
    if (this.#shown && performance.now() - this.#asked > REFRESH_MS && !document.hidden) this.#ask();
  }

  #path(before = null) {
    const start = new Date(clock.now() - this.#hours * 3_600_000).toISOString();
    return `/transitions?${new URLSearchParams({ start, limit: PAGE, ...(before !== null && { before }) })}`;
  }

  async #ask() {
    this.#asked = performance.now();
    const hours = this.#hours;
    try {
      const { items, next_cursor } = await get(this.#path());
      if (hours !== this.#hours) return;
      const last = items.at(-1)?.seq ?? Infinity;
      const older = this.#items.filter((change) => change.seq < last && next_cursor !== null);
      if (!older.length) this.#cursor = next_cursor;
      this.#items = [...items, ...older];
      this.#draw();
    } catch (problem) {
      text(this.word, `The journal could not be fetched. ${problem.message}`);
    }
  }

  async #more() {
    this.older.disabled = true;
    try {
      const { items, next_cursor } = await get(this.#path(this.#cursor));
      this.#cursor = next_cursor;
      this.#items.push(...items);
      this.#draw();
    } catch (problem) {
      text(this.word, `Older changes could not be fetched. ${problem.message}`);
    } finally {
      this.older.disabled = false;
    }
  }

  #matching() {
    const wanted = this.#filter.toLowerCase().split(/\s+/);
    return this.#items.filter((change) => {
      const said = cells(change).join(" ").toLowerCase();
      return wanted.every((word) => said.includes(word));
    });
  }

  #draw() {
    const kept = this.#matching();
    text(
      this.word,
      kept.length
        ? `${many(kept.length, "change")}${this.#cursor === null ? "" : ", and older ones"}`
        : this.#items.length
          ? "No change matches the filter."
          : "Nothing has happened in this range. Choose a longer one.",
    );
    keyed(
      this.rows,
      kept,
      (change) => change.seq,
      (change) => {
        const [, what, alarm, who] = cells(change);
        const row = el(
          "tr",
          {},
          el("td", {}, mark(change.priority)),
          el("td", {}, what),
          el("td", {}, el("button.plain", { type: "button" }, alarm)),
          el("td", {}, who),
          el("td.n", {}, time(change.at)),
        );
        row.dataset.alarm = change.id;
        return row;
      },
    );
    this.table.hidden = !kept.length;
    this.older.hidden = this.#cursor === null;
  }

  #pick(event) {
    const id = event.target.closest("tr")?.dataset.alarm;
    if (id) this.#choose(id);
  }

  /** What is shown, as a file. */
  save() {
    save(
      "alarm-history",
      ["priority", "change", "alarm", "who_and_why", "at_utc", "id", "site", "before", "after"],
      this.#matching().map((change) => [...cells(change), change.at, change.id, change.site, change.before, change.after]),
    );
  }
}

function cells({ priority, change, rule, asset, qualifier, by, comment, why }) {
  const who = [by, comment && `“${comment}”`, why].filter(Boolean).join(": ");
  return [priority, words(change), [rule.replaceAll("-", " "), asset, qualifier].filter(Boolean).join(" · "), who];
}
