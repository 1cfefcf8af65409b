// How efficient it is and what it costs: each figure with its category, its period, where it comes from and how much of
// it was measured; what nobody can tell says what it would take. Lives here: the page. Not here: the figures (the service).

import { get } from "./api.js";
import { save } from "./csv.js";
import { attr, el, keyed, text } from "./dom.js";
import { MISSING, number, stamp, utc } from "./format.js";
import { ScopeChoice, scopeName } from "./scope.js";
import { tableCard } from "./table-card.js";

const EVERY_MS = 60_000;
const WINDOWS = [
  ["1h", "last hour"],
  ["24h", "last 24 h"],
  ["7d", "last 7 days"],
  ["30d", "last 30 days"],
  ["this_month", "this month"],
  ["last_month", "last month"],
  ["this_year", "this year"],
  ["last_year", "last year"],
];
const HEADS = ["Figure", "#Is", "How known", "#Covered", "Boundary", "How it is worked out"];
const RATIOS = new Set(["PUE", "pPUE", "WUE", "CUE", "REF", "ERF", "ITUE", "TUE"]);
const KINDS = { measured: "measured", estimated: "estimated", missing: "missing" };
// Digits that a figure deserves: a PUE of 1.2 says less than it knows, a cost of 0.0341 needs all of them.
const written = (v) => (v === null ? MISSING : number(v, Math.abs(v) >= 100 ? 0 : Math.abs(v) >= 10 ? 1 : Math.abs(v) >= 1 ? 2 : 3));

export class EfficiencyPage {
  #route;
  #asked = -Infinity;
  #key = "";
  #figures = [];
  #period = null;

  constructor({ store, route }) {
    this.#route = route;
    this.scope = new ScopeChoice(store, route, { sites: true });
    this.window = el(
      "select",
      { "aria-label": "Over", change: () => route.set({ window: this.window.value }) },
      ...WINDOWS.map(([key, name]) => el("option", { value: key }, name)),
    );
    this.report = el("a.button", { target: "_blank", rel: "noopener" }, "Yearly report");
    this.word = el("p.sub", { role: "status" }, "Working the figures out.");
    this.period = el("p.sub");
    this.ratios = el("tbody");
    this.amounts = el("tbody");
    this.costs = el("tbody");
    this.costWord = el("p.sub", { role: "status" });
    this.body = el(
      "div.drawer",
      { hidden: true },
      tableCard("Ratios", HEADS, this.ratios, { kind: "table.figures" }),
      tableCard("Energy, water, heat", HEADS, this.amounts, { kind: "table.figures" }),
      tableCard("Cost", HEADS, this.costs, { kind: "table.figures", before: [this.costWord] }),
    );
    this.nodes = [
      el(
        "div.row.spread",
        {},
        el("div", {}, el("h1", {}, "Efficiency"), this.period),
        el("div.row", {}, this.scope.root, this.window, this.report, el("button", { type: "button", click: () => this.#save() }, "CSV")),
      ),
      this.word,
      this.body,
    ];
  }

  place() {
    return "Efficiency";
  }

  #over() {
    const said = this.#route.query.get("window");
    return WINDOWS.some(([key]) => key === said) ? said : "24h";
  }

  update() {
    this.scope.update();
    this.window.value = this.#over();
    const of = this.scope.chosen();
    const site = of.split("/")[1] ?? "";
    attr(this.report, "href", `/api/v1/efficiency/report?${new URLSearchParams({ site, year: new Date().getFullYear(), format: "html" })}`);
    this.report.hidden = !site;
    const key = `${of}|${this.#over()}`;
    if (key === this.#key) return;
    this.#key = key;
    this.#asked = -Infinity;
    this.beat();
  }

  values() {} // of a period, not of this second

  alarms() {} // nothing here is an alarm's

  async beat() {
    const of = this.scope.chosen();
    if (document.hidden || !of || performance.now() - this.#asked < EVERY_MS) return;
    this.#asked = performance.now();
    const key = this.#key;
    const query = new URLSearchParams({ scope: of, window: this.#over() });
    try {
      const told = await get(`/efficiency?${query}`);
      if (key !== this.#key) return;
      this.#period = told;
      this.#figures = told.answers[0].figures;
      this.body.hidden = false;
      text(this.word, missing(this.#figures));
      text(this.period, `${scopeName(of)} · ${stamp(told.start)} to ${stamp(told.end)} · worked out in steps of ${number(told.resolution_s, 0)} s`);
      attr(this.period, "title", `${utc(told.start)} to ${utc(told.end)}`);
      show(this.ratios, this.#figures.filter((one) => RATIOS.has(one.name)));
      show(this.amounts, this.#figures.filter((one) => !RATIOS.has(one.name)));
    } catch (problem) {
      if (key !== this.#key) return;
      text(this.word, `${this.#figures.length && problem.status !== 404 ? "These figures are old. " : ""}${problem.message}`);
      this.body.hidden = problem.status === 404 || problem.status === 409;
      return;
    }
    await this.#cost(key, query);
  }

  async #cost(key, query) {
    try {
      const { answers } = await get(`/cost?${query}`);
      if (key !== this.#key) return;
      this.#figures = [...this.#figures.filter((one) => !one.cost), ...answers[0].figures.map((one) => ({ ...one, cost: true }))];
      text(this.costWord, "");
      show(this.costs, answers[0].figures);
    } catch (problem) {
      if (key === this.#key) text(this.costWord, problem.message);
    }
  }

  #save() {
    const { start, end } = this.#period ?? {};
    save(
      `efficiency-${this.#over()}`,
      ["scope", "start_utc", "end_utc", "figure", "label", "value", "unit", "kind", "coverage_pct", "boundary", "why", "formula", "source"],
      this.#figures.map((one) => [
        this.scope.chosen(), start, end, one.name, one.label, one.value, one.unit, one.kind, one.coverage_pct, one.boundary,
        one.why, one.formula, one.source,
      ]),
    );
  }
}

function missing(figures) {
  const ratios = figures.filter((one) => RATIOS.has(one.name));
  const lacking = ratios.filter((one) => one.kind === "missing").length;
  return lacking ? `${lacking} of ${ratios.length} ratios cannot be told: each says what it would take.` : "";
}

function show(body, figures) {
  keyed(
    body,
    figures,
    (one) => one.name,
    () => el("tr", {}, el("th", { scope: "row" }, el("b"), el("div.sub")), el("td.n"), el("td"), el("td.n"), el("td"), el("td", {}, el("div"), el("div.sub"))),
    (row, one) => {
      const [name, is, kind, covered, boundary, how] = row.children;
      const [said, ...rest] = one.label.split(",");
      text(name.firstChild, said);
      text(name.lastChild, rest.join(",").trim());
      text(is, one.value === null ? MISSING : `${written(one.value)} ${one.unit}`.trim());
      text(kind, KINDS[one.kind] ?? one.kind);
      text(covered, one.kind === "missing" ? MISSING : `${number(one.coverage_pct, one.coverage_pct < 99.95 ? 1 : 0)}\u00a0%`);
      text(boundary, one.boundary);
      text(how.firstChild, one.kind === "missing" || one.why ? one.why : "");
      text(how.lastChild, `${one.formula} · ${one.source}`);
      row.classList.toggle("lacking", one.kind === "missing");
    },
  );
}
