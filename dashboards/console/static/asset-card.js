// The selected rack or CDU: its values as analog indicators, what it hangs on, its alarms, all its points on request.
// Lives here: the card. Not here: selecting (hall.js).

import { get } from "./api.js";
import * as clock from "./clock.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { MISSING, age, many, number, time, unitOf, value } from "./format.js";
import { nameOf } from "./names.js";
import { address } from "./route.js";
import { unacknowledged } from "./store.js";

const MARGIN = 0.25; // of the usual range, drawn on either side of it
const POINTS_REFRESH_MS = 5_000;
const LEAK = new Map([
  [0, "dry"],
  [1, "wet"],
]);

export class AssetCard {
  #store;
  #isStale;
  #key = null;
  #asked = 0;

  constructor(store, isStale) {
    this.#store = store;
    this.#isStale = isStale;
    this.name = el("span");
    this.heard = el("span.sub.n");
    this.place = el("div.sub");
    this.alarms = el("div", { hidden: true });
    this.indicators = el("div.inds");
    this.facts = el("dl.facts");
    this.rows = el("tbody");
    this.word = el("p.sub");
    this.points = el(
      "details",
      { toggle: () => this.points.open && this.#fetch() },
      el("summary.sub", {}, "All points"),
      this.word,
      el(
        "div.table",
        {},
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el("tr", {}, el("th", {}, "Point"), el("th.n", {}, "Value"), el("th.n", {}, "Time"), el("th", {}, "State")),
          ),
          this.rows,
        ),
      ),
    );
    this.body = el("div", { class: "drawer" }, this.place, this.alarms, this.indicators, this.facts, this.points);
    this.blank = el(
      "p.sub",
      {},
      "Choose a rack or a CDU on the map: click it, or move with the arrow keys and press Enter.",
    );
    this.root = el(
      "div.card",
      {},
      el("div.row.spread", {}, el("h2", {}, this.name, el("span.mut", {}, " · selected")), this.heard),
      this.blank,
      this.body,
    );
  }

  /** Shows an asset by key, or none. */
  show(key) {
    if (key !== this.#key) {
      this.#key = key;
      this.rows.replaceChildren();
      this.points.open = false;
    }
    this.update();
  }

  /** Patches what is shown. */
  update() {
    const rack = this.#store.racks.get(this.#key);
    const asset = rack ?? this.#store.cdus.get(this.#key);
    this.body.hidden = !asset;
    this.blank.hidden = Boolean(asset);
    this.root.firstChild.hidden = !asset;
    if (!asset) return;
    const stale = this.#isStale(asset);
    text(this.name, asset.name);
    text(this.place, this.#place(asset, rack));
    this.age();
    this.marks();
    keyed(
      this.indicators,
      rack ? this.#rackScales(rack) : this.#cduScales(asset),
      (i) => `${i.key} ${i.name} ${i.unit}`,
      indicator,
      (node, i) => setIndicator(node, i, stale),
    );
    const facts = rack ? this.#rackFacts(rack) : [["Cools", (asset.serves ?? []).join(", ") || MISSING]];
    keyed(
      this.facts,
      facts.flatMap(([name, shown]) => [
        ["dt", name, name],
        ["dd", `${name} value`, shown],
      ]),
      (f) => f[1],
      ([tag]) => el(tag),
      (node, f) => text(node, f[2]),
    );
  }

  /** Tells the age again; once a second. */
  age() {
    const asset = this.#store.racks.get(this.#key) ?? this.#store.cdus.get(this.#key);
    if (!asset) return;
    const heard =
      asset.heard === null ? "never heard" : `heard ${age(Math.max(0, clock.now() - asset.heard) / 1000)} ago`;
    text(this.heard, this.#isStale(asset) ? `? stale, ${heard}` : heard);
    if (this.points.open && performance.now() - this.#asked > POINTS_REFRESH_MS) this.#fetch();
  }

  /** Patches its alarms. */
  marks() {
    const alarms = this.#store.alarmsAt(this.#key);
    this.alarms.hidden = !alarms.length;
    keyed(
      this.alarms,
      alarms,
      (alarm) => alarm.id,
      (alarm) => el("div.row", {}, mark(alarm.priority), el("a", { href: address("alarms", alarm.id) })),
      (node, alarm) => {
        setMark(node.firstChild, alarm.priority, unacknowledged(alarm));
        text(node.children[1], alarm.title);
      },
    );
  }

  #place(asset, rack) {
    const parts = [
      asset.hall || "not placed",
      asset.row && `row ${asset.row}`,
      asset.position && `position ${asset.position}`,
    ];
    if (rack?.rated_power_kw) parts.push(`rated ${number(rack.rated_power_kw)} kW`);
    if (rack?.gpus) parts.push(many(rack.gpus, "GPU"));
    return parts.filter(Boolean).join(" · ");
  }

  #rackScales(rack) {
    const scales = this.#store.quantities.map((q) => ({
      key: q.key,
      name: q.name,
      unit: q.unit,
      v: rack.values[q.key],
      low: q.low,
      high: q.key === "power_kw" && rack.rated_power_kw ? rack.rated_power_kw : q.high,
    }));
    if ("valve_pct" in rack.values)
      scales.push({ key: "valve_pct", name: nameOf("valve_pct"), unit: "%", v: rack.values.valve_pct, ends: [0, 100] });
    return scales;
  }

  #cduScales(cdu) {
    return Object.entries(cdu.values).map(([key, v]) => ({
      key,
      name: nameOf(key),
      unit: unitOf(key),
      v,
      ends: unitOf(key) === "%" ? [0, 100] : null,
    }));
  }

  #rackFacts(rack) {
    const facts = [];
    if ("leak" in rack.values) facts.push(["Leak sensor", LEAK.get(rack.values.leak) ?? MISSING]);
    facts.push(
      ["Cooled by", (rack.cdus ?? []).join(", ") || MISSING],
      ["Fed by", (rack.feeds ?? []).join(", ") || MISSING],
    );
    return facts;
  }

  async #fetch() {
    const key = this.#key;
    const asset = this.#store.racks.get(key) ?? this.#store.cdus.get(key);
    this.#asked = performance.now();
    try {
      const { points = [] } = await get(
        `/assets/${encodeURIComponent(asset.id)}?site=${encodeURIComponent(asset.site)}`,
      );
      if (key !== this.#key) return;
      text(this.word, points.length ? "" : "No point is known of it.");
      keyed(
        this.rows,
        points,
        (p) => p.id,
        () => el("tr", {}, el("td"), el("td.n"), el("td.n"), el("td")),
        pointRow,
      );
    } catch (problem) {
      if (key === this.#key) text(this.word, problem.message);
    }
  }
}

function pointRow(row, point) {
  const [name, shown, at, state] = row.children;
  text(
    name,
    [
      point.name || point.quantity,
      point.loop,
      point.side,
      point.part,
      point.phase && `phase ${point.phase}`,
      point.setpoint && "set point",
    ]
      .filter(Boolean)
      .join(" · "),
  );
  text(shown, point.value == null ? MISSING : `${number(point.value)} ${point.unit ?? ""}`.trim());
  if (at.dataset.at !== String(point.time)) {
    at.dataset.at = String(point.time);
    at.replaceChildren(point.time ? time(point.time) : MISSING);
  }
  text(
    state,
    point.state ?? (point.quality ? (["good", "uncertain", "bad"][point.quality] ?? String(point.quality)) : ""),
  );
}

/** One indicator: name, figure, and the track with the usual range, its limit and the pointer. */
function indicator({ name, unit }) {
  return el(
    "div.ai",
    {},
    el("span.sub", {}, name, el("b")),
    el("span.v", {}, el("span"), el("span.u", {}, unit ? ` ${unit}` : "")),
    el("div.t", { "aria-hidden": "true" }, el("i.band"), el("i.lim"), el("i.pt")),
  );
}

function setIndicator(node, { key, unit, v, low, high, ends }, stale) {
  const [title, shown, track] = node.children;
  const several = Array.isArray(v);
  text(shown.firstChild, several ? v.map((one) => value(key, unit, one)).join(" · ") : value(key, unit, v));
  node.classList.toggle("stale", stale);
  const banded = typeof low === "number" && typeof high === "number" && high > low;
  const [from, to] = banded
    ? [low >= 0 ? Math.max(0, low - MARGIN * (high - low)) : low - MARGIN * (high - low), high + MARGIN * (high - low)]
    : (ends ?? [0, 0]);
  track.hidden = to <= from || several;
  if (track.hidden) return;
  const [band, limit, pointer] = track.children;
  const percent = (x) => `${Math.min(100, Math.max(0, (100 * (x - from)) / (to - from))).toFixed(1)}%`;
  band.hidden = limit.hidden = !banded;
  if (banded) {
    band.style.left = percent(low);
    band.style.right = `${100 - Number.parseFloat(percent(high))}%`;
    limit.style.left = percent(high);
    attr(node, "title", `Usual: ${number(low)} to ${number(high)} ${unit}`);
  }
  pointer.hidden = typeof v !== "number";
  if (!pointer.hidden) pointer.style.left = percent(v);
  const outside = banded && typeof v === "number" && (v < low ? " below usual" : v > high ? " above usual" : "");
  text(title.lastChild, outside || "");
}
