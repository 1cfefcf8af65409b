// The page of the hall: heading, chooser of the quantity with its legend, the map, the selected asset, the alarm that is
// looked at. Lives here: how they hang together. Not here: each of them.

import { get } from "./api.js";
import { AlarmCard } from "./alarm-card.js";
import { AssetCard } from "./asset-card.js";
import { attr, el, keyed, text } from "./dom.js";
import { age, many, number, share } from "./format.js";
import { HallMap } from "./map.js";
import { sourcesSentence } from "./sources.js";
import { keyOf } from "./store.js";

const STEPS = [0, 1, 2, 3, 4];
// The first of these that any rack has a value for is shown where the address names none.
const FIRST_CHOICE = ["power_pct", "power_kw"];
const SOURCES_REFRESH_MS = 5_000;

export class HallPage {
  #store;
  #link;
  #route;
  #isStale;
  #drawn = "";
  #asked = -Infinity;
  #sources = "";

  constructor(store, link, route, isStale, acknowledging) {
    this.#store = store;
    this.#link = link;
    this.#route = route;
    this.#isStale = isStale;
    this.name = el("h1");
    this.coverage = el("div.sub");
    this.chooser = el("select", { "aria-label": "Colour by", change: () => route.set({ by: this.chooser.value }) });
    this.low = el("span.n");
    this.high = el("span.n");
    this.legend = el("span.legend", {}, this.low, ...STEPS.map((i) => el("i", { "data-q": i })), this.high);
    this.map = new HallMap(store, isStale, (key) => route.set({ at: key }));
    this.asset = new AssetCard(store, isStale);
    this.alarm = new AlarmCard(store, acknowledging, "No alarm stands. When one does, the most urgent is told here.");
    this.word = el("p");
    this.blank = el("section.card.blank", { role: "status" }, this.word);
    this.head = el(
      "div.row.spread.head",
      {},
      el("div", {}, this.name, this.coverage),
      el("div.row", {}, el("label.sub.row", {}, "colour by", this.chooser), this.legend),
    );
    this.below = el("section.below", {}, this.asset.root, el("div.card", {}, this.alarm.root));
    this.nodes = [this.head, this.blank, this.map.root, this.below];
  }

  /** The hall that the address names, or the first. */
  hall() {
    const wanted = this.#route.query.get("hall");
    return this.#store.halls.find((h) => `${h.site}/${h.hall}` === wanted) ?? this.#store.halls[0] ?? null;
  }

  /** The racks of that hall. */
  racks() {
    const hall = this.hall();
    return hall
      ? hall.rows.flatMap((row) => row.racks.map((id) => this.#store.racks.get(keyOf(hall.site, id)))).filter(Boolean)
      : [];
  }

  /** Its name, for the title of the tab. */
  place() {
    const hall = this.hall();
    return hall ? hall.hall || `${hall.site}, not placed` : "";
  }

  /** The quantity that colours. */
  quantity() {
    const { quantities } = this.#store;
    const wanted = quantities.find((q) => q.key === this.#route.query.get("by"));
    if (wanted) return wanted;
    const racks = this.racks();
    const told = FIRST_CHOICE.find((key) => racks.some((rack) => typeof rack.values[key] === "number"));
    return quantities.find((q) => q.key === told) ?? quantities[0] ?? null;
  }

  /** Everything anew: another hall, another layout, another place in the address. */
  update() {
    const hall = this.hall();
    const empty = !hall || !this.racks().length;
    this.blank.hidden = !empty;
    this.map.root.hidden = this.below.hidden = this.head.hidden = empty;
    if (empty) {
      this.#drawn = "";
      text(this.word, this.#emptiness(hall));
      return;
    }
    text(this.name, hall.hall || "Racks without a place");
    const quantity = this.quantity();
    keyed(
      this.chooser,
      this.#store.quantities,
      (q) => q.key,
      (q) => el("option", { value: q.key }),
      (node, q) => text(node, q.unit && !q.name.includes(q.unit) ? `${q.name}, ${q.unit}` : q.name),
    );
    if (quantity) this.#scale(quantity);
    const layout = JSON.stringify([hall, [...this.racks()].map((rack) => [rack.name, rack.position, rack.cdus])]);
    this.map.colour(quantity);
    if (layout !== this.#drawn) {
      this.#drawn = layout;
      this.map.draw(hall);
    }
    this.map.marks();
    this.select();
    this.alarm.update();
    this.counts();
  }

  #scale(quantity) {
    this.chooser.value = quantity.key;
    const known = typeof quantity.low === "number" && typeof quantity.high === "number";
    this.legend.hidden = !known;
    if (!known) return;
    text(this.low, number(quantity.low));
    text(this.high, `${number(quantity.high)} ${quantity.unit}`);
    const span = (quantity.high - quantity.low) / STEPS.length;
    [...this.legend.querySelectorAll("i")].forEach((node, i) =>
      attr(
        node,
        "title",
        `${number(quantity.low + i * span)} to ${number(quantity.low + (i + 1) * span)} ${quantity.unit}`,
      ),
    );
  }

  /** Only these assets have changed. */
  values(keys) {
    if (this.hall() && !this.blank.hidden && this.racks().length) return this.update();
    this.map.update(keys);
    if (keys.has(this.#shownAsset())) this.asset.update();
    this.counts();
  }

  /** Some alarms have changed; assets by key. */
  alarms(keys) {
    this.map.marks(keys);
    this.select();
    this.alarm.update();
    this.asset.marks();
  }

  /** What the address selects; else what the most urgent alarm is about; else the first CDU, the hall's heart. */
  select() {
    const alarm = this.#route.query.get("alarm") ?? this.#store.standing[0]?.id ?? null;
    this.alarm.show(alarm);
    this.asset.show(this.#shownAsset());
    this.map.select(this.#shownAsset());
  }

  #shownAsset() {
    const named = this.#route.query.get("at");
    if (named) return named;
    const alarm = this.#store.alarms.get(this.#route.query.get("alarm")) ?? this.#store.standing[0];
    if (alarm) return keyOf(alarm.site, alarm.asset);
    const hall = this.hall();
    const cdu = hall?.rows.flatMap((row) => row.cdus)[0];
    return cdu === undefined ? null : keyOf(hall.site, cdu);
  }

  /** The line under the name: how many, and how much of what is expected is fresh. */
  counts() {
    const racks = this.racks();
    const cdus = new Set(this.hall().rows.flatMap((row) => row.cdus));
    const feeds = new Set(racks.flatMap((rack) => rack.feeds ?? []));
    const { coverage, halls } = this.#store;
    const fresh =
      this.#link.state !== "lost" &&
      coverage &&
      `${halls.length > 1 ? "all halls: " : ""}readings ${share(coverage.fresh, coverage.expected)} of expected${coverage.oldest_s == null ? "" : `, oldest ${age(coverage.oldest_s)}`}`;
    const stale = racks.filter((rack) => this.#isStale(rack)).length;
    text(
      this.coverage,
      [
        many(racks.length, "rack"),
        cdus.size && many(cdus.size, "CDU"),
        feeds.size && many(feeds.size, "feed"),
        stale && `${number(stale, 0)} stale`,
        fresh,
      ]
        .filter(Boolean)
        .join(" · "),
    );
  }

  /** Once a second. */
  beat() {
    if (!this.blank.hidden) {
      this.#askSources();
      text(this.word, this.#emptiness(this.hall()));
      return;
    }
    if (this.#link.state === "lost") {
      this.map.update();
      this.asset.update();
      this.counts();
    }
    this.asset.age();
    this.alarm.beat();
  }

  #emptiness() {
    const { problem } = this.#link;
    if (problem) return `${problem.message} Trying again every 5 s.`;
    if (this.#store.at === null) return "Asking for the hall.";
    return `Waiting for the first readings. ${this.#sources}`;
  }

  async #askSources() {
    if (this.#link.problem || this.#store.at === null || performance.now() - this.#asked < SOURCES_REFRESH_MS) return;
    this.#asked = performance.now();
    try {
      this.#sources = sourcesSentence((await get("/ledger")).items);
    } catch (problem) {
      this.#sources = `The sources could not be asked for. ${problem.message}`;
    }
    text(this.word, this.#emptiness());
  }
}
