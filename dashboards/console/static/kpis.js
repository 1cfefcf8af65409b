// How well the alarm system works: the figures of EEMUA 191 and ISA-18.2 against their aims, over a range of days.
// Lives here: the page. Not here: how they are worked out (the service).

import { get } from "./api.js";
import * as clock from "./clock.js";
import { save } from "./csv.js";
import { el, keyed, mark, text } from "./dom.js";
import { MISSING, age, many, number, stamp, zone } from "./format.js";
import { tableCard } from "./table-card.js";

const DAYS = [1, 7, 30, 90, 365];
const DEFAULT = 30;
const SHOWN = 50;
const OPERATORS_MAX = 20;
const EVERY_MS = 60_000;
const DAY_MS = 86_400_000;

const percent = (v, digits = 1) => (typeof v === "number" ? `${number(100 * v, digits)}\u00a0%` : MISSING);

// Figure, value, the standards' aim, whether it is met (null: no aim).
const FIGURES = [
  ["Alarms per ten minutes, mean", (k) => number(k.load.per_10min, 2), "1 or fewer, 2 at most", (k) => k.load.per_10min <= 1],
  ["Alarms per day, mean", (k) => number(k.load.per_day, 0), "about 150", (k) => k.load.per_day <= 150],
  ["Fullest ten minutes", (k) => number(k.load.peak_10min, 0), "10 or fewer", (k) => k.load.peak_10min <= 10],
  ["Time in flood", (k) => percent(k.flood_share, 2), "under 1 %", (k) => k.flood_share < 0.01],
  ["Standing now", (k) => number(k.standing_total, 0), "", () => null],
  ["Of these for more than 24 h", (k) => number(k.stale_total, 0), "fewer than 5", (k) => k.stale_total < 5],
  ["Chattering tags", (k) => number(k.chattering_total, 0), "none", (k) => k.chattering_total === 0],
  ["Fleeting: cleared within 60 s", (k) => percent(k.fleeting_share), "", () => null],
  ["Share of the ten worst tags", (k) => percent(k.bad_actors.at(-1)?.running ?? 0), "1 to 5 %", (k) => (k.bad_actors.at(-1)?.running ?? 0) <= 0.05],
  ["Acknowledged after, median", (k) => age(k.acknowledging.median_s), "", () => null],
  ["Acknowledged after, 95 of 100", (k) => age(k.acknowledging.p95_s), "", () => null],
  ["Never acknowledged", (k) => number(k.acknowledging.never, 0), "", () => null],
];

export class Kpis {
  #route;
  #asked = -Infinity;
  #key = "";
  #told = null;

  constructor({ route }) {
    this.#route = route;
    this.days = el(
      "select",
      { "aria-label": "Range", change: () => route.set({ days: this.days.value }) },
      ...DAYS.map((days) => el("option", { value: days }, `last ${many(days, "day")}`)),
    );
    this.operators = el("input", {
      type: "number",
      min: 1,
      max: OPERATORS_MAX,
      "aria-label": "Operators on duty at a time",
      change: () => route.set({ operators: this.operators.value }),
    });
    this.save = el("button", { type: "button", click: () => this.#save() }, "CSV");
    this.word = el("p.sub", { role: "status" }, "Working the figures out.");
    this.rows = el("tbody");
    this.shares = el("tbody");
    this.actors = el("tbody");
    this.floods = el("tbody");
    this.shelved = el("tbody");
    this.body = el(
      "div.below",
      { hidden: true },
      tableCard("Figures", ["Figure", "Is", "Aim", ""], this.rows),
      tableCard("By priority", ["", "Alarms", "Share", "Aim"], this.shares),
      tableCard("Raised most", ["Tag", "Alarms", "Share", "Together"], this.actors),
      tableCard("Floods", ["From", "Until", "Alarms", "Most in ten minutes"], this.floods),
      tableCard("Shelved", ["", "Tag", "By", "Why", "From"], this.shelved),
    );
    this.nodes = [
      el(
        "div.row.spread",
        {},
        el("h1", {}, "Alarm KPIs"),
        el("div.row", {}, this.days, el("label.sub.row", {}, "operators", this.operators), this.save),
      ),
      this.word,
      this.body,
    ];
  }

  place() {
    return "Alarm KPIs";
  }

  #asking() {
    const days = Number(this.#route.query.get("days"));
    const operators = Number(this.#route.query.get("operators"));
    return {
      days: DAYS.includes(days) ? days : DEFAULT,
      operators: Number.isInteger(operators) && operators >= 1 && operators <= OPERATORS_MAX ? operators : 1,
    };
  }

  update() {
    const { days, operators } = this.#asking();
    this.days.value = String(days);
    if (document.activeElement !== this.operators) this.operators.value = String(operators);
    if (this.#key === `${days} ${operators}`) return;
    this.#key = `${days} ${operators}`;
    this.#asked = -Infinity;
    this.beat();
  }

  async beat() {
    if (document.hidden || performance.now() - this.#asked < EVERY_MS) return;
    this.#asked = performance.now();
    const key = this.#key;
    const { days, operators } = this.#asking();
    const end = new Date(clock.now());
    const query = new URLSearchParams({ start: new Date(end - days * DAY_MS).toISOString(), end: end.toISOString(), operators });
    try {
      const told = await get(`/alarms/kpis?${query}`);
      if (key !== this.#key) return;
      this.#told = told;
      this.#draw();
    } catch (problem) {
      if (key === this.#key) text(this.word, `${this.#told ? "These figures are old. " : ""}${problem.message}`);
    }
  }

  #draw() {
    const kpis = this.#told;
    this.body.hidden = false;
    const start = Date.parse(kpis.start);
    text(
      this.word,
      kpis.load.alarms
        ? `${many(kpis.load.alarms, "alarm")} from ${stamp(kpis.start)} to ${stamp(kpis.end)} ${zone(start)}, for ${many(kpis.operators, "operator")}.`
        : `No alarm was raised from ${stamp(kpis.start)} to ${stamp(kpis.end)} ${zone(start)}.`,
    );
    fill(
      this.rows,
      FIGURES.map(([name, value, aim, met]) => [name, value(kpis), aim, { true: "met", false: "not met", null: "" }[met(kpis)]]),
    );
    const aims = { 1: "under 1 %", 2: "about 5 %", 3: "about 15 %", 4: "about 80 %" };
    fill(
      this.shares,
      kpis.priorities.map((one) => [mark(one.priority ?? 4), number(one.alarms, 0), percent(one.share), aims[one.priority] ?? ""]),
    );
    fill(
      this.actors,
      kpis.bad_actors.map((one) => [one.tag, number(one.alarms, 0), percent(one.share), percent(one.running)]),
    );
    fill(
      this.floods,
      kpis.floods.slice(0, SHOWN).map((one) => [stamp(one.start), stamp(one.end), number(one.alarms, 0), number(one.peak, 0)]),
    );
    fill(
      this.shelved,
      kpis.shelved.slice(0, SHOWN).map((one) => [mark(one.priority ?? 4), one.tag, one.by, one.reason, stamp(one.start)]),
    );
  }

  #save() {
    if (this.#told) save("alarm-kpis", ["figure", "value", "aim"], FIGURES.map(([name, value, aim]) => [name, value(this.#told), aim]));
  }
}

// Rows of text; a mark stays a mark. Nothing to tell is said, not left blank.
function fill(body, rows) {
  const shown = rows.length ? rows : [["none"]];
  keyed(
    body,
    shown.map((cells, i) => ({ cells, i })),
    ({ cells, i }) => `${i} ${cells.map((cell) => (cell instanceof Node ? cell.textContent : cell)).join("|")}`,
    ({ cells }) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell))),
  );
}
