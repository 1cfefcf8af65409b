// The selected rack or CDU: its values as analog indicators, what it hangs on, its alarms, all its points on request.
// Lives here: the card. Not here: selecting (hall.js).

import { get } from "./api.js";
import * as clock from "./clock.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { MISSING, age, many, number, time, unitOf, value } from "./format.js";
import { nameOf, plain } from "./names.js";
import { address } from "./route.js";
import { unacknowledged } from "./store.js";

// The band of an indicator: where the middle of the other racks of this hall stands now. It is measured, never set.
const BAND = [0.1, 0.9];
const PEERS_MIN = 5;
const POINTS_REFRESH_MS = 5_000;
const LEAK = new Map([
  [0, "dry"],
  [1, "wet"],
]);

export class AssetCard {
  #store;
  #isStale;
  #key = null;
  #open;
  #asked = 0;

  /** remark: what is said beside the name. open: whether the name leads to the asset's own page. */
  constructor(store, isStale, { remark = "selected", open = true } = {}) {
    this.#store = store;
    this.#isStale = isStale;
    this.#open = open;
    this.name = el(open ? "a.inline" : "span");
    this.heard = el("span.sub.n");
    this.place = el("div.sub");
    this.alarms = el("div", { hidden: true });
    this.indicators = el("div.inds");
    this.key = el("div.sub.mut", {}, "Band: the middle 80 % of this hall’s other racks, now");
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
    this.body = el(
      "div",
      { class: "drawer" },
      this.place,
      this.alarms,
      this.indicators,
      this.key,
      this.facts,
      this.points,
    );
    this.blank = el(
      "p.sub",
      {},
      "Choose a rack or a CDU on the map: click it, or move with the arrow keys and press Enter.",
    );
    this.root = el(
      "div.card",
      {},
      el("div.row.spread", {}, el("h2", {}, this.name, el("span.mut", {}, ` · ${remark}`)), this.heard),
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
    if (this.#open) attr(this.name, "href", address(rack ? "rack" : "loop", this.#key));
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
      asset.heard === null ? "never heard" : `updated ${age(Math.max(0, clock.now() - asset.heard) / 1000)} ago`;
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
    const peers = [...this.#store.racks.values()].filter(
      (other) => other !== rack && other.site === rack.site && other.hall === rack.hall && !this.#isStale(other),
    );
    const scales = this.#store.quantities.map(({ key, name, unit, low, high }) => ({
      key,
      name,
      unit,
      v: rack.values[key],
      ends: typeof low === "number" && typeof high === "number" ? [low, high] : null,
      band: middle(peers.map((other) => other.values[key])),
      limit: key === "power_kw" ? rack.rated_power_kw : key === "power_pct" && rack.rated_power_kw ? 100 : null,
    }));
    if ("valve_pct" in rack.values) {
      const values = peers.map((other) => other.values.valve_pct);
      scales.push({ ...percentage("valve_pct", rack.values.valve_pct), band: middle(values) });
    }
    this.key.hidden = !scales.some((scale) => scale.band);
    return scales;
  }

  #cduScales(cdu) {
    this.key.hidden = true;
    return Object.entries(cdu.values).map(([key, v]) =>
      unitOf(key) === "%" ? percentage(key, v) : { key, name: nameOf(key), unit: unitOf(key), v },
    );
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
      const found = await get(`/assets/${encodeURIComponent(asset.id)}?site=${encodeURIComponent(asset.site)}`);
      if (key !== this.#key) return;
      const latest = new Map(found.readings.map((reading) => [reading.point, reading]));
      text(this.word, found.details.length ? "" : "No point is known of it.");
      this.word.hidden = found.details.length > 0;
      keyed(
        this.rows,
        found.details,
        (point) => point.id,
        () => el("tr", {}, el("td"), el("td.n"), el("td.n"), el("td")),
        (row, point) => setPoint(row, point, latest.get(point.id)),
      );
    } catch (problem) {
      if (key === this.#key) text(this.word, problem.message);
    }
  }
}

function setPoint(row, point, reading) {
  const [name, shown, at, state] = row.children;
  if (!name.firstChild) name.append(el("a.inline", { href: address("trend", null, { point: point.id }), title: "Its trend" }));
  text(
    name.firstChild,
    [plain(point.name || point.quantity), point.part, point.setpoint && "set point"].filter(Boolean).join(" · "),
  );
  text(shown, reading?.value == null ? MISSING : `${number(reading.value)} ${point.unit}`.trim());
  if (at.dataset.at !== String(reading?.time)) {
    at.dataset.at = String(reading?.time);
    at.replaceChildren(reading ? time(reading.time) : MISSING);
  }
  text(state, [reading?.state, reading && reading.quality !== "good" && reading.quality].filter(Boolean).join(", "));
}

const percentage = (key, v) => ({ key, name: nameOf(key), unit: "%", v, ends: [0, 100] });

// The middle of what the peers show, or null where they are too few to make one.
function middle(values) {
  const sorted = values.filter((v) => typeof v === "number").sort((a, b) => a - b);
  if (sorted.length < PEERS_MIN) return null;
  return BAND.map((share) => sorted[Math.round(share * (sorted.length - 1))]);
}

/** One indicator: name, figure, and the track with the band, a limit where one is known, and the pointer. */
export function indicator({ name, unit }) {
  return el(
    "div.ai",
    {},
    el("span.sub", {}, name),
    el("span.v", {}, el("span"), el("span.u", {}, unit ? ` ${unit}` : "")),
    el("div.t", { "aria-hidden": "true" }, el("i.band"), el("i.lim"), el("i.pt")),
  );
}

/** Shows a value in it: ends of the scale, band of the peers, limit; whatever is not known is left out. */
export function setIndicator(node, { key, unit, v, ends, band: peers, limit: most }, stale) {
  const [, shown, track] = node.children;
  const several = Array.isArray(v);
  text(shown.firstChild, several ? v.map((one) => value(key, unit, one)).join(" · ") : value(key, unit, v));
  node.classList.toggle("stale", stale);
  track.hidden = !ends || ends[1] <= ends[0] || several;
  if (track.hidden) return;
  // The scale is the map's, stretched where a value or a limit lies beyond it: a pointer never sticks at an end.
  const all = [...ends, ...(peers ?? []), v, most].filter((x) => typeof x === "number");
  const [from, to] = [Math.min(...all), Math.max(...all)];
  const percent = (x) => (100 * (x - from)) / (to - from);
  const [band, limit, pointer] = track.children;
  band.hidden = !peers;
  if (peers) {
    band.style.left = `${percent(peers[0]).toFixed(1)}%`;
    band.style.right = `${(100 - percent(peers[1])).toFixed(1)}%`;
  }
  limit.hidden = typeof most !== "number";
  if (!limit.hidden) limit.style.left = `${percent(most).toFixed(1)}%`;
  pointer.hidden = typeof v !== "number";
  if (!pointer.hidden) pointer.style.left = `${percent(v).toFixed(1)}%`;
  const parts = [
    `Scale ${number(from)} to ${number(to)} ${unit}`,
    peers && `other racks ${number(peers[0])} to ${number(peers[1])}`,
    !limit.hidden && `rating ${number(most)}`,
  ];
  attr(node, "title", parts.filter(Boolean).join(" · "));
}
