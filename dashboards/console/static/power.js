// The way of power: feeds from the roots down, what each phase carries against its breaker, now and after the worst loss;
// what the loss of the chosen feed would do, and the racks that hang on it. Lives here: the page. Not here: the arithmetic
// (the service), one rack's own feeds (rack.js).

import { get, post } from "./api.js";
import { save } from "./csv.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { MISSING, age, many, number } from "./format.js";
import { address } from "./route.js";
import { ScopeChoice, assetIn } from "./scope.js";
import { keyOf, unacknowledged } from "./store.js";
import { framed } from "./table-card.js";

const EVERY_MS = 5_000;
const SHOWN = 500;
const RACKS_SHOWN = 100;
const NAMED = 6; // racks that a sentence names
const PHASES = ["A", "B", "C"];
const HOLDS = { yes: "holds", no: "does not hold", unknown: "not known" };

const percent = (v) => (typeof v === "number" ? `${number(v, 0)}\u00a0%` : MISSING);
const amps = (phases) =>
  phases.length === 1 ? [phases[0], null, null] : PHASES.map((_, i) => phases[i] ?? null);

export class PowerPage {
  #store;
  #route;
  #asked = -Infinity;
  #key = "";
  #feeds = [];
  #racks = [];

  constructor({ store, route }) {
    this.#store = store;
    this.#route = route;
    this.scope = new ScopeChoice(store, route, { whole: "all halls" });
    this.word = el("p.sub", { role: "status" }, "Asking for the feeds.");
    this.rows = el("tbody");
    this.loss = el("h2");
    this.lossWord = el("p.sub", { role: "status" });
    this.outcome = el("ul.facts-list");
    this.behind = el("h2");
    this.behindWord = el("p.sub", { role: "status" });
    this.cords = el("tbody");
    this.chosen = el(
      "div.below",
      {},
      el("section.card", {}, this.loss, this.lossWord, this.outcome),
      el(
        "section.card",
        {},
        this.behind,
        this.behindWord,
        framed("Racks behind it", ["Rack", "#kW", "Feed, fullest phase: now → after the worst loss", "Redundancy"], this.cords),
      ),
    );
    this.body = el(
      "div.drawer",
      { hidden: true },
      el(
        "section.card.drawer",
        {},
        el("h2", {}, "Feeds"),
        framed("Feeds", ["Feed", "Side", "#Racks", "#kW", "#A", "#B", "#C", "#May carry, A", "Fullest phase", "#After the worst loss", "#Imbalance"], this.rows, "table.ways"),
        el(
          "p.sub",
          {},
          "A feed may carry its breaker’s rating times its continuous share, 80 % where nothing else is said. Bar: the fullest phase now, of that; tick: after the worst loss of any one feed. est.: put together from what hangs on it.",
        ),
      ),
      this.chosen,
    );
    this.nodes = [
      el(
        "div.row.spread",
        {},
        el("h1", {}, "Power path"),
        el("div.row", {}, this.scope.root, el("button", { type: "button", click: () => this.#save() }, "CSV")),
      ),
      this.word,
      this.body,
    ];
  }

  place() {
    return "Power path";
  }

  update() {
    this.scope.update();
    const key = `${this.scope.chosen()}|${this.#route.query.get("feed") ?? ""}`;
    if (key === this.#key) return;
    const scope = this.#key.split("|")[0] === this.scope.chosen();
    this.#key = key;
    this.#asked = -Infinity;
    if (scope && this.#feeds.length) this.#draw();
    this.beat();
  }

  values() {} // asked for, not streamed

  alarms() {
    if (this.#feeds.length) this.#draw();
  }

  // The feed of the address, or the fullest of those at the top.
  #which() {
    const asked = this.#route.query.get("feed");
    if (asked) return asked;
    const top = this.#feeds.filter((one) => one.racks && one.level === Math.min(...this.#feeds.map((feed) => feed.level)));
    return top.reduce((a, b) => ((b.load_pct ?? -1) > (a?.load_pct ?? -1) ? b : a), top[0])?.scope ?? null;
  }

  async beat() {
    if (document.hidden || performance.now() - this.#asked < EVERY_MS) return;
    this.#asked = performance.now();
    const key = this.#key;
    const of = this.scope.chosen();
    try {
      const { items, total, taps } = await get(`/power?${new URLSearchParams({ limit: SHOWN, ...(of && { scope: of }) })}`);
      if (key !== this.#key) return;
      this.#feeds = items;
      this.body.hidden = !items.length;
      const said = [
        items.length ? "" : "No feed is known here: they come from power meters on the bus, or from the inventory.",
        total > items.length && `The first ${number(items.length, 0)} of ${number(total, 0)}.`,
        items.length && taps && `${many(taps, "tap-off")} of one rack each ${taps === 1 ? "is" : "are"} told with the racks.`,
      ];
      text(this.word, said.filter(Boolean).join(" "));
      this.#draw();
    } catch (problem) {
      if (key !== this.#key) return;
      text(this.word, `${this.#feeds.length && problem.status !== 404 ? "These figures are old. " : ""}${problem.message}`);
      if (problem.status === 404) this.body.hidden = true;
      return;
    }
    const feed = this.#which();
    if (feed) await Promise.all([this.#lose(key, feed), this.#hangs(key, feed)]);
  }

  #draw() {
    const chosen = this.#which();
    keyed(
      this.rows,
      ordered(this.#feeds),
      (one) => one.scope,
      () => this.#row(),
      (row, one) => this.#patch(row, one, one.scope === chosen),
    );
  }

  #row() {
    const pick = el("button.plain.pickfeed", { type: "button", click: () => this.#route.set({ feed: pick.dataset.scope }) });
    const bar = el("div.load", { "aria-hidden": "true" }, el("i.fill"), el("i.then"));
    return el(
      "tr",
      {},
      el("td", {}, pick),
      el("td"),
      ...[1, 2, 3, 4, 5, 6].map(() => el("td.n")),
      el("td", {}, el("div.loaded", {}, el("span.n"), bar)),
      el("td.n"),
      el("td.n"),
    );
  }

  #patch(row, one, chosen) {
    const [name, side, racks, kw, a, b, c, may, load, after, uneven] = row.children;
    attr(row, "aria-selected", chosen ? "true" : null);
    const pick = name.lastChild;
    pick.dataset.scope = one.scope;
    name.style.paddingInlineStart = `${8 + 16 * one.level}px`;
    const alarm = this.#store.worst.get(keyOf(...split(one.scope))) ?? null;
    if (alarm && !name.querySelector(".pri")) name.prepend(mark(alarm.priority), " ");
    if (alarm) {
      setMark(name.firstChild, alarm.priority, unacknowledged(alarm));
      attr(name.firstChild, "title", alarm.title);
    } else if (name.querySelector(".pri")) name.replaceChildren(pick);
    text(pick, one.name);
    attr(pick, "aria-pressed", String(chosen));
    attr(row, "title", one.why || null);
    text(side, one.dead ? `${one.side} no voltage`.trim() : one.side);
    text(racks, number(one.racks, 0));
    text(kw, `${number(one.power_kw, one.power_kw >= 100 ? 0 : 1)}${one.measured || one.power_kw === null ? "" : " est."}`);
    amps(one.now_a).forEach((value, i) => text([a, b, c][i], one.now_a.length === 1 && i ? "" : number(value, 0)));
    text(may, number(one.usable_a, 0));
    text(load.firstChild.firstChild, percent(one.load_pct));
    this.#bar(load.firstChild.lastChild, one);
    text(after, one.after_pct === null ? MISSING : `${percent(one.after_pct)}${one.after_pct > 100 ? ", too much" : ""}`);
    after.classList.toggle("over", one.after_pct > 100);
    attr(after, "title", one.worst_if ? `when ${one.worst_if} is lost` : null);
    text(uneven, percent(one.imbalance_pct));
  }

  #bar(bar, one) {
    const [fill, then] = bar.children;
    const most = Math.max(100, one.load_pct ?? 0, one.after_pct ?? 0);
    bar.hidden = one.load_pct === null;
    fill.style.width = `${((100 * (one.load_pct ?? 0)) / most).toFixed(1)}%`;
    then.hidden = one.after_pct === null;
    then.style.left = `${((100 * (one.after_pct ?? 0)) / most).toFixed(1)}%`;
  }

  async #lose(key, feed) {
    text(this.loss, `If ${assetIn(feed) || feed} is lost`);
    try {
      const told = await post("/capacity/what-if", { lose: [feed] });
      if (key !== this.#key) return;
      text(this.lossWord, `With the loads of now; ${percent(told.measured_pct)} of the racks’ power is measured. Nothing is switched.`);
      keyed(
        this.outcome,
        sentences(told),
        (line) => line,
        (line) => el("li", {}, line),
      );
    } catch (problem) {
      if (key !== this.#key) return;
      text(this.lossWord, problem.message);
      this.outcome.replaceChildren();
    }
  }

  async #hangs(key, feed) {
    text(this.behind, `Racks behind ${assetIn(feed) || feed}`);
    try {
      const { items, total } = await get(`/power/racks?${new URLSearchParams({ feed, limit: RACKS_SHOWN })}`);
      if (key !== this.#key) return;
      this.#racks = items;
      text(this.behindWord, total > items.length ? `The first ${number(items.length, 0)} of ${number(total, 0)}.` : items.length ? "" : "No rack hangs on it.");
      keyed(
        this.cords,
        items,
        (one) => one.scope,
        () => el("tr", {}, el("td", {}, el("a")), el("td.n"), el("td"), el("td")),
        (row, one) => {
          const [name, kw, feeds, holds] = row.children;
          text(name.firstChild, one.name);
          attr(name.firstChild, "href", address("rack", split(one.scope).join("/")));
          text(kw, `${number(one.power_kw, 1)}${one.measured || one.power_kw === null ? "" : " est."}`);
          keyed(
            feeds,
            one.feeds,
            (cord) => cord.scope,
            () => el("div.n"),
            (line, cord) => text(line, cordLine(cord)),
          );
          text(holds, [one.has || "not known", HOLDS[one.holds] ?? one.holds].join(": "));
          attr(holds, "title", [one.weakest, one.why].filter(Boolean).join(": "));
        },
      );
    } catch (problem) {
      if (key !== this.#key) return;
      text(this.behindWord, problem.message);
      this.cords.replaceChildren();
    }
  }

  #save() {
    save(
      "power-path",
      ["feed", "side", "level", "fed_by", "racks", "power_kw", "a_now", "b_now", "c_now", "may_carry_a", "load_pct", "after_worst_loss_pct", "worst_if", "imbalance_pct", "measured", "not_known"],
      ordered(this.#feeds).map((one) => [
        one.scope, one.side, one.level, one.fed_by.join(" "), one.racks, one.power_kw, ...amps(one.now_a), one.usable_a,
        one.load_pct, one.after_pct, one.worst_if, one.imbalance_pct, one.measured, one.why,
      ]),
    );
  }
}

const split = (scope) => [scope.split("/")[1], assetIn(scope)];

function cordLine(cord) {
  const side = cord.side ? `${cord.side} ` : "";
  if (cord.dead) return `${side}${cord.name}: no voltage`;
  return `${side}${cord.name}: ${percent(cord.load_pct)} → ${percent(cord.after_pct)}${cord.why ? ` (${cord.why})` : ""}`;
}

// Each feed below what feeds it; one with several feeders stands below the first of them.
function ordered(feeds) {
  const known = new Set(feeds.map((one) => one.scope));
  const home = (one) => one.fed_by.map((id) => `asset/${split(one.scope)[0]}/${id}`).find((scope) => known.has(scope)) ?? "";
  const below = new Map();
  for (const one of feeds) below.set(home(one), [...(below.get(home(one)) ?? []), one]);
  const by = (a, b) => a.hall.localeCompare(b.hall) || a.side.localeCompare(b.side) || a.scope.localeCompare(b.scope, "en", { numeric: true });
  const told = [];
  const waiting = (below.get("") ?? []).sort(by).reverse();
  while (waiting.length) {
    const one = waiting.pop();
    told.push(one);
    waiting.push(...(below.get(one.scope) ?? []).sort(by).reverse());
  }
  return told;
}

const names = (all) => `${all.slice(0, NAMED).join(", ")}${all.length > NAMED ? ` and ${number(all.length - NAMED, 0)} more` : ""}`;

/** What a loss does, in sentences, the gravest first. */
export function sentences({ overloads, dark, hot, shed, unknown }) {
  const told = [
    dark.length && `${many(dark.length, "rack goes", "racks go")} dark: ${names(dark.map((scope) => assetIn(scope)))}.`,
    ...overloads.map(
      (one) =>
        `${assetIn(one.feed)} would carry ${number(one.load.value, 0)} of ${number(one.usable_kw, 0)} kW${one.trips ? ", beyond its breaker: it opens" : ""}.`,
    ),
    ...hot.map((one) => {
      const soon = one.slowdown.value === null ? "how soon they slow down is not known" : `the first slows down after ${age(one.slowdown.value)}, in ${one.first}`;
      return `${one.group} no longer cools ${names(one.racks)}: ${soon}.`;
    }),
    ...shed.map(
      (one) =>
        `For ${one.at}, ${number(one.excess_kw, 0)} kW would have to go: shed ${names(one.racks)}, or cap all behind it by ${percent(one.cap_pct)}.`,
    ),
    ...unknown.map((one) => `Not known: ${one}.`),
  ].filter(Boolean);
  return told.length ? told : ["Nothing overloads, goes dark or runs hot."];
}

