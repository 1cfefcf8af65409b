// One loop: the CDU as a picture with live values, the racks that it serves, its alarms with their evidence, and the three
// curves that tell a leak: inventory, make-up, flow balance. Lives here: the page. Not here: the picture (mimic.js).

import { get } from "./api.js";
import { AlarmCard } from "./alarm-card.js";
import { AssetCard } from "./asset-card.js";
import * as clock from "./clock.js";
import { attr, el, keyed, text } from "./dom.js";
import { age, many, number } from "./format.js";
import { Mimic, gauges } from "./mimic.js";
import { nameOf } from "./names.js";
import { address } from "./route.js";
import { keyOf } from "./store.js";
import { Trend } from "./trend.js";

const EVERY_MS = 3_000;
const BALANCE_EVERY = "30s";
const OLD_S = 250;

export class LoopPage {
  #store;
  #route;
  #isStale;
  #asked = -Infinity;
  #key = null;
  #parts = null;
  #latest = new Map();

  constructor({ store, route, isStale, acknowledging }) {
    this.#store = store;
    this.#route = route;
    this.#isStale = isStale;
    this.name = el("h1");
    this.sum = el("div.sub");
    this.chooser = el("select", { "aria-label": "Loop", change: () => route.go("loop", this.chooser.value) });
    this.long = el("a.button", {}, "Trend…");
    this.word = el("p.sub", { role: "status" });
    this.mimic = new Mimic();
    this.alarm = new AlarmCard(store, acknowledging, "No alarm stands at this CDU or at a rack that it serves.");
    this.asset = new AssetCard(store, isStale, { remark: "now", open: false });
    this.inventory = new Trend(store);
    this.balance = new Trend(store, 30_000);
    this.makeUp = new Trend(store);
    this.curves = [
      [this.inventory, "Inventory", "no reservoir level is measured"],
      [this.balance, "Flow balance: CDU less its racks", "the flow of the CDU or of its racks is not measured"],
      [this.makeUp, "Make-up", "no make-up pump is told of"],
    ].map(([trend, title, none]) => ({ trend, none: el("p.sub", {}, `${title}: ${none}.`), title: el("h3", {}, title) }));
    // Slow things: one look a minute is enough.
    this.exchanger = [
      ["approach_k", "Approach", "K"],
      ["ua_kw_per_k", "Conductance UA", "kW/K"],
    ].map(([key, name, unit]) => ({ key, name, unit, trend: new Trend(store, 60_000) }));
    this.unmeasured = el("p.sub", { hidden: true });
    this.blank = el("section.card.blank", { role: "status", hidden: true }, el("p"), el("a.inline", { href: "#/" }, "To the hall map"));
    this.body = el(
      "div.drawer",
      {},
      this.word,
      el("section.card.scroll", {}, this.mimic.picture),
      el(
        "div.below",
        {},
        el("div.card", {}, this.alarm.root),
        el(
          "div.card",
          {},
          el("h2", {}, "What tells a leak"),
          ...this.curves.flatMap(({ trend, none, title }) => [title, trend.root, none]),
        ),
        el(
          "div.card",
          {},
          el("h2", {}, "Exchanger"),
          ...this.exchanger.map(({ trend }) => trend.root),
          this.unmeasured,
          el("p.sub", {}, "UA: the racks’ heat by the mean difference at both ends. It changes with the flows; at like flows, sinking over weeks is fouling."),
        ),
        this.asset.root,
      ),
    );
    this.nodes = [
      el("div.row.spread", {}, el("div", {}, this.name, this.sum), el("div.row", {}, this.chooser, this.long)),
      this.blank,
      this.body,
    ];
  }

  place() {
    return this.name.textContent;
  }

  // The loop that the address names; without one, the first with an alarm, or the first.
  #which() {
    if (this.#route.id) return this.#route.id;
    const keys = [...this.#store.cdus.keys()];
    return keys.find((key) => this.#alarmAt(key)) ?? keys[0] ?? null;
  }

  #served(cdu) {
    return (cdu.serves ?? []).map((id) => this.#store.racks.get(keyOf(cdu.site, id))).filter(Boolean);
  }

  #alarmAt(key) {
    const cdu = this.#store.cdus.get(key);
    if (!cdu) return null;
    const here = new Set([cdu.id, ...(cdu.serves ?? [])]);
    return this.#store.standing.find((alarm) => alarm.site === cdu.site && here.has(alarm.asset)) ?? null;
  }

  update() {
    const key = this.#which();
    const cdu = this.#store.cdus.get(key);
    if (key !== this.#key) {
      this.#key = key;
      this.#parts = null;
      this.#latest.clear();
      this.#asked = -Infinity;
      text(this.word, "");
      for (const { trend } of [...this.curves, ...this.exchanger]) trend.show(null);
    }
    const known = this.#store.at !== null;
    this.blank.hidden = Boolean(cdu) || !known;
    this.body.hidden = !cdu;
    this.long.hidden = !cdu;
    text(this.name, cdu ? `Loop of ${cdu.name}` : "Loop");
    keyed(
      this.chooser,
      [...this.#store.cdus.entries()],
      ([one]) => one,
      ([one, { site, name }]) => el("option", { value: one }, `${site} · ${name}`),
    );
    this.chooser.hidden = this.#store.cdus.size < 2;
    if (cdu) this.chooser.value = key;
    if (!cdu) {
      const words = key
        ? `There is no CDU ${key} here: it was taken away, or the link is of another service.`
        : "No CDU is known yet: a loop is drawn from what a CDU tells and from the racks that it serves.";
      text(this.blank.firstChild, words);
      return;
    }
    this.asset.show(key);
    this.alarms();
    this.#show();
    this.beat();
  }

  alarms() {
    const alarm = this.#alarmAt(this.#key);
    this.alarm.show(this.#route.query.get("alarm") ?? alarm?.id ?? null);
    this.alarm.update();
    this.asset.marks();
    this.#show();
    for (const { trend } of this.curves) trend.since(alarm?.since ?? null, alarm?.priority ?? null);
  }

  values() {
    this.asset.update();
    this.#show();
  }

  #show() {
    const cdu = this.#store.cdus.get(this.#key);
    if (!cdu) return;
    const racks = this.#served(cdu);
    const power = racks.map((rack) => rack.values.power_kw).filter((v) => typeof v === "number");
    const kw = power.reduce((a, b) => a + b, 0);
    text(
      this.sum,
      [
        many(racks.length, "rack"),
        power.length && `${number(kw, 0)} kW${cdu.rated_power_kw ? ` of ${number(cdu.rated_power_kw, 0)} kW rated` : ""}`,
        power.length < racks.length && `without ${many(racks.length - power.length, "rack")}`,
        this.#isStale(cdu) ? "? stale" : cdu.heard && `heard ${age(Math.max(0, clock.now() - cdu.heard) / 1000)} ago`,
      ]
        .filter(Boolean)
        .join(" · "),
    );
    if (!this.#parts) return;
    this.mimic.draw(cdu, this.#parts, racks);
    this.mimic.show(this.#latest, cdu, racks, this.#store, this.#isStale);
  }

  beat() {
    const cdu = this.#store.cdus.get(this.#key);
    if (!cdu || document.hidden) return;
    if (performance.now() - this.#asked > EVERY_MS) this.#ask(cdu);
    for (const { trend } of [...this.curves, ...this.exchanger]) trend.beat();
    this.alarm.beat();
    this.asset.age();
  }

  async #ask(cdu) {
    this.#asked = performance.now();
    const key = this.#key;
    try {
      const found = await get(`/assets/${encodeURIComponent(cdu.id)}?site=${encodeURIComponent(cdu.site)}`);
      if (key !== this.#key) return;
      const first = this.#parts === null;
      this.#parts = gauges(found.details);
      this.#latest = new Map(found.readings.map((one) => [one.point, { ...one, old: one.age_s > OLD_S }]));
      text(this.word, "");
      if (first) this.#curves(cdu);
      this.#show();
    } catch (problem) {
      if (key === this.#key) text(this.word, `${this.#parts ? "The values in the picture are old. " : ""}${problem.message}`);
    }
  }

  #curves(cdu) {
    const { level, fill, flow } = this.#parts;
    const [inventory, balance, makeUp] = this.curves;
    const alarm = this.#alarmAt(this.#key);
    const tell = (curve, there, show) => {
      curve.none.hidden = there;
      curve.title.hidden = !there;
      if (there) show(alarm?.since ?? null, null, alarm?.priority ?? null);
    };
    tell(inventory, Boolean(level), (...when) => this.inventory.show(level.id, ...when));
    tell(makeUp, Boolean(fill), (...when) => this.makeUp.show(fill.id, ...when));
    const racks = this.#served(cdu);
    tell(balance, Boolean(flow) && racks.length > 0, (...when) =>
      this.balance.show(`balance ${this.#key}`, ...when, (range) => flowBalance(cdu, flow, racks, range)),
    );
    for (const { key, name, unit, trend } of this.exchanger)
      trend.show(`${key} ${this.#key}`, null, null, null, async (range) => {
        const told = await get(`/exchangers/${encodeURIComponent(cdu.id)}?${new URLSearchParams({ site: cdu.site, ...range, every_s: 60 })}`);
        this.unmeasured.hidden = !told.missing.length;
        text(this.unmeasured, `Not measured here: ${told.missing.map(nameOf).join(", ")}.`);
        const kept = told.times.map((time, i) => [time, told[key][i]]).filter(([, value]) => value !== null);
        return { name, unit, times: kept.map(([time]) => time), values: kept.map(([, value]) => value), qualities: kept.map(() => 0) };
      });
    const points = [level, flow].filter(Boolean).map((point) => point.id);
    attr(this.long, "href", address("trend", null, { point: points.join(",") }));
    this.long.hidden = !points.length;
  }
}

// The flow of the CDU less those of its racks, where each of them was measured: one missing rack would look like a leak.
async function flowBalance(cdu, flow, racks, range) {
  const query = (more) => `/readings?${new URLSearchParams({ ...range, every: BALANCE_EVERY, how: "mean", ...more })}`;
  const [whole, parts] = await Promise.all([
    get(query({ point: flow.id })),
    get(query({ site: cdu.site, quantity: "RackLiquidFlow" })),
  ]);
  const served = new Set(racks.map((rack) => rack.id));
  const sums = new Map();
  let measured = 0;
  for (const series of parts.series) {
    if (!served.has(series.asset) || !series.times.length) continue;
    measured += 1;
    series.times.forEach((time, i) => {
      const sum = sums.get(time) ?? { flow: 0, count: 0 };
      if (typeof series.values[i] === "number") sums.set(time, { flow: sum.flow + series.values[i], count: sum.count + 1 });
    });
  }
  const [total] = whole.series;
  const kept = total.times
    .map((time, i) => [time, total.values[i], sums.get(time)])
    .filter(([, value, sum]) => typeof value === "number" && sum?.count === measured);
  return {
    ...total,
    name: "CDU less its racks",
    times: kept.map(([time]) => time),
    values: kept.map(([, value, sum]) => value - sum.flow),
    qualities: kept.map(() => 0),
  };
}
