// All halls at a glance: power and cooling against what they may be, alarms by priority, how much of the data is fresh.
// Lives here: the page. Not here: one hall in its places (hall.js).

import { get } from "./api.js";
import { indicator, setIndicator } from "./asset-card.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { age, many, number, share } from "./format.js";
import { address } from "./route.js";
import { keyOf, unacknowledged } from "./store.js";
import { sourcesSentence } from "./sources.js";

const SOURCES_EVERY_MS = 5_000;
const PRIORITIES = ["critical", "high", "medium", "low"];

export class Overview {
  #store;
  #isStale;
  #asked = -Infinity;

  constructor({ store, isStale }) {
    this.#store = store;
    this.#isStale = isStale;
    this.halls = el("div.halls");
    this.word = el("p.sub", { role: "status" });
    this.coverage = el("p");
    this.sources = el("p.sub");
    this.elsewhere = el("p.sub");
    this.nodes = [
      el("div.row.spread", {}, el("h1", {}, "Overview"), el("a.inline", { href: "#/alarms" }, "All alarms")),
      this.word,
      this.halls,
      this.elsewhere,
      el("section.card.drawer", {}, el("h2", {}, el("a", { href: "#/quality" }, "Data quality")), this.coverage, this.sources),
    ];
  }

  place() {
    return "Overview";
  }

  update() {
    const { halls, at, coverage, standing } = this.#store;
    text(this.word, halls.length ? "" : at === null ? "Asking for the halls." : "Waiting for the first readings: no rack is known yet.");
    this.word.hidden = halls.length > 0;
    const told = new Set();
    const shown = halls.map((hall) => {
      const sum = this.#sum(hall);
      for (const key of sum.keys) told.add(key);
      return sum;
    });
    keyed(
      this.halls,
      shown,
      ({ hall }) => `${hall.site}/${hall.hall}`,
      () => make(),
      patch,
    );
    const other = standing.filter((alarm) => !told.has(keyOf(alarm.site, alarm.asset)));
    text(this.elsewhere, other.length ? `${many(other.length, "more alarm")} at what is neither rack nor CDU: see all alarms.` : "");
    this.elsewhere.hidden = !other.length;
    text(
      this.coverage,
      coverage
        ? `${number(coverage.fresh, 0)} of ${many(coverage.expected, "point")} fresh (${share(coverage.fresh, coverage.expected)})${coverage.oldest_s == null ? "" : `, oldest ${age(coverage.oldest_s)}`}`
        : "Nothing is known yet of how much is fresh.",
    );
  }

  values() {
    this.update();
  }

  alarms() {
    this.update();
  }

  async beat() {
    if (document.hidden || performance.now() - this.#asked < SOURCES_EVERY_MS) return;
    this.#asked = performance.now();
    try {
      const { items, warnings = [] } = await get("/ledger");
      text(this.sources, [sourcesSentence(items), ...warnings].join(" "));
    } catch (problem) {
      text(this.sources, `The sources could not be asked for. ${problem.message}`);
    }
  }

  // What is stale or missing is counted beside the sum, never in it.
  #sum(hall) {
    const racks = hall.rows.flatMap((row) => row.racks.map((id) => this.#store.racks.get(keyOf(hall.site, id)))).filter(Boolean);
    const cdus = hall.rows.flatMap((row) => row.cdus.map((id) => this.#store.cdus.get(keyOf(hall.site, id)))).filter(Boolean);
    const fresh = racks.filter((rack) => typeof rack.values.power_kw === "number" && !this.#isStale(rack));
    const add = (items, of) => items.reduce((sum, one) => sum + (of(one) ?? 0), 0);
    const liquid = new Set(cdus.flatMap((cdu) => (cdu.rated_power_kw ? (cdu.serves ?? []) : [])));
    const keys = [...racks, ...cdus].map((one) => keyOf(one.site, one.id));
    const here = new Set(keys);
    const alarms = this.#store.standing.filter((alarm) => here.has(keyOf(alarm.site, alarm.asset)));
    return {
      hall,
      keys,
      racks: racks.length,
      cdus: cdus.length,
      left: racks.length - fresh.length,
      stale: racks.filter((rack) => this.#isStale(rack)).length,
      power: fresh.length ? add(fresh, (rack) => rack.values.power_kw) : null,
      rated: add(racks, (rack) => rack.rated_power_kw),
      heat: fresh.some((rack) => liquid.has(rack.id))
        ? add(fresh.filter((rack) => liquid.has(rack.id)), (rack) => rack.values.power_kw)
        : null,
      cooling: add(cdus, (cdu) => cdu.rated_power_kw),
      alarms: PRIORITIES.map((_, i) => alarms.filter((alarm) => alarm.priority === i + 1)),
      first: alarms[0] ?? null,
    };
  }
}

function make() {
  const parts = {
    name: el("a"),
    size: el("div.sub"),
    power: indicator({ name: "Power of the racks", unit: "kW" }),
    cooling: indicator({ name: "Heat of liquid-cooled racks, against their CDUs", unit: "kW" }),
    left: el("p.sub"),
    tally: el("div.tally"),
    marks: PRIORITIES.map((_, i) => ({ mark: mark(i + 1), count: el("b.n") })),
    first: el("a.inline"),
  };
  parts.tally.append(...parts.marks.map(({ mark: sign, count }) => el("span", {}, sign, count)));
  const node = el(
    "section.card.drawer",
    {},
    el("div.row.spread", {}, el("div", {}, el("h2", {}, parts.name), parts.size), parts.tally),
    parts.power,
    parts.cooling,
    parts.left,
    parts.first,
  );
  node.parts = parts;
  return node;
}

function patch({ parts }, sum) {
  const { hall } = sum;
  text(parts.name, `${hall.site} · ${hall.hall || "not placed"}`);
  attr(parts.name, "href", address("hall", null, { hall: `${hall.site}/${hall.hall}` }));
  text(parts.size, [many(sum.racks, "rack"), sum.cdus && many(sum.cdus, "CDU"), sum.stale && `${sum.stale} stale`].filter(Boolean).join(" · "));
  const scale = (node, v, most, key) => {
    setIndicator(node, { key, unit: "kW", v, ends: most ? [0, most] : null, limit: most || null }, sum.left === sum.racks);
    if (!most) attr(node, "title", "No rating is known: see the settings");
  };
  scale(parts.power, sum.power, sum.rated, "power_kw");
  scale(parts.cooling, sum.heat, sum.cooling, "heat_kw");
  parts.cooling.hidden = !sum.cooling;
  const against = [
    sum.rated && sum.power !== null && `${share(Math.round(sum.power), sum.rated)} of ${number(sum.rated, 0)} kW rated power`,
    sum.cooling && sum.heat !== null && `${share(Math.round(sum.heat), sum.cooling)} of ${number(sum.cooling, 0)} kW cooling`,
    sum.cdus && !sum.cooling && "no CDU has a rating in the settings",
    sum.left && `without ${many(sum.left, "rack")} that ${sum.left === 1 ? "is" : "are"} missing or stale`,
  ];
  text(parts.left, against.filter(Boolean).join(" · "));
  sum.alarms.forEach((alarms, i) => {
    const { mark: sign, count } = parts.marks[i];
    const fresh = alarms.filter(unacknowledged).length;
    setMark(sign, i + 1, fresh > 0);
    sign.classList.toggle("none", !alarms.length);
    attr(sign.parentElement, "class", alarms.length ? null : "none");
    attr(sign.parentElement, "title", `${many(alarms.length, `${PRIORITIES[i]} alarm`)}, ${fresh} unacknowledged`);
    text(count, String(alarms.length));
  });
  parts.first.hidden = !sum.first;
  if (!sum.first) return;
  text(parts.first, sum.first.title);
  attr(parts.first, "href", address("alarms", sum.first.id));
}
