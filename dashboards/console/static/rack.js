// One rack: power by feed with what a failover would leave, the liquid side, every GPU, its alarms, its history.
// Lives here: the page. Not here: the card of values (asset-card.js), the chart (chart.js).

import { get } from "./api.js";
import { AssetCard, indicator, setIndicator } from "./asset-card.js";
import { Chart } from "./chart.js";
import { attr, el, keyed, text } from "./dom.js";
import { MISSING, number, value } from "./format.js";
import { plain } from "./names.js";
import { address } from "./route.js";

const EVERY_MS = 5_000;
const GPUS_EVERY_MS = 10_000;
const GPU = {
  GpuTemperature: ["", "°C", 0],
  GpuPower: ["power", "kW", 2],
  GpuUtilization: ["busy", "%", 0],
  GpuClockEventReasons: ["throttle reasons", "", 0],
  GpuXid: ["XID", "", 0],
};
const STEPS = 5;

export class RackPage {
  #store;
  #route;
  #asked = -Infinity;
  #askedGpus = -Infinity;
  #key = null;
  #points = [];
  #gpuPoints = new Map();

  constructor({ store, route, isStale }) {
    this.#store = store;
    this.#route = route;
    this.name = el("h1");
    this.loops = el("span.row");
    this.word = el("p.sub", { role: "status" });
    this.feeds = el("div.inds");
    this.failover = el("ul.facts-list");
    this.power = el("section.card.drawer", {}, el("h2", {}, "Power by feed"), this.feeds, this.failover);
    this.asset = new AssetCard(store, isStale, { remark: "now", open: false });
    this.gpus = el("div.gpus", { click: (e) => this.#choose(e) });
    this.gpuWord = el("p.sub");
    this.gpuCard = el(
      "section.card.drawer",
      {},
      el("div.row.spread", {}, el("h2", {}, "GPUs"), el("span.sub", {}, "temperature, °C; press one for its history")),
      this.gpuWord,
      this.gpus,
    );
    this.what = el("select", { "aria-label": "What the history shows", change: () => this.#show(this.what.value) });
    this.chart = new Chart(store, route, "rack");
    this.past = el("a.inline", {}, "What its alarms did");
    this.blank = el("section.card.blank", { role: "status", hidden: true }, el("p"), el("a.inline", { href: "#/" }, "To the hall map"));
    this.body = el(
      "div.drawer",
      {},
      this.word,
      el("div.below", {}, this.power, this.asset.root),
      this.gpuCard,
      el("div.row.spread", {}, el("h2", {}, "History"), el("label.sub.row", {}, "of", this.what)),
      this.chart.root,
    );
    this.nodes = [el("div.row.spread", {}, this.name, el("span.row", {}, this.loops, this.past)), this.blank, this.body];
  }

  place() {
    return this.#store.racks.get(this.#route.id)?.name ?? this.#route.id ?? "Rack";
  }

  update() {
    const key = this.#route.id;
    const rack = this.#store.racks.get(key);
    const known = this.#store.at !== null;
    if (key !== this.#key) {
      this.#key = key;
      this.#points = [];
      this.#gpuPoints.clear();
      this.gpus.replaceChildren();
      this.feeds.replaceChildren();
      this.failover.replaceChildren();
      this.#asked = this.#askedGpus = -Infinity;
      text(this.word, "");
    }
    this.blank.hidden = Boolean(rack) || !known;
    this.body.hidden = !rack;
    text(this.name, rack?.name ?? key ?? "Rack");
    if (!rack) {
      text(this.blank.firstChild, `There is no rack ${key ?? ""} here: it was taken away, or the link is of another service.`);
      return;
    }
    attr(this.past, "href", address("alarms", null, { show: "history", filter: rack.id, range: "168" }));
    keyed(
      this.loops,
      rack.cdus ?? [],
      (cdu) => cdu,
      (cdu) => el("a.inline", { href: address("loop", `${rack.site}/${cdu}`) }, `Loop of ${cdu}`),
    );
    this.gpuCard.hidden = !rack.gpus;
    this.asset.show(key);
    this.#history();
    this.beat();
  }

  alarms() {
    this.asset.marks();
  }

  beat() {
    const rack = this.#store.racks.get(this.#key);
    if (!rack || document.hidden) return;
    const now = performance.now();
    if (now - this.#asked > EVERY_MS) this.#ask(rack);
    if (rack.gpus && now - this.#askedGpus > GPUS_EVERY_MS) this.#askGpus(rack);
    this.asset.age();
    this.chart.beat();
  }

  async #ask(rack) {
    this.#asked = performance.now();
    const key = this.#key;
    const site = `?site=${encodeURIComponent(rack.site)}`;
    try {
      const one = (id) => get(`/assets/${encodeURIComponent(id)}${site}`);
      const [own, ...feeds] = await Promise.all([one(rack.id), ...(rack.feeds ?? []).map(one)]);
      if (key !== this.#key) return;
      this.#points = own.details.filter((point) => !point.setpoint);
      this.#feed(rack, feeds.map(meter));
      this.#history();
      text(this.word, "");
    } catch (problem) {
      if (key === this.#key) text(this.word, `Power by feed and the list of points could not be fetched. ${problem.message}`);
    }
  }

  #feed(rack, meters) {
    this.power.hidden = !meters.length;
    keyed(
      this.feeds,
      meters,
      (one) => one.id,
      (one) => indicator({ name: one.id, unit: "kW" }),
      (node, one) =>
        setIndicator(node, { key: "power_kw", unit: "kW", v: one.power, ends: [0, rack.rated_power_kw ?? one.power ?? 1] }, false),
    );
    const told = meters.length > 1 ? meters.map((lost) => failover(lost, meters)) : [`There is one feed alone: ${meters[0]?.id}.`];
    keyed(
      this.failover,
      told,
      (line) => line,
      (line) => el("li", {}, line),
    );
  }

  async #askGpus(rack) {
    this.#askedGpus = performance.now();
    const key = this.#key;
    try {
      const answers = await Promise.all(
        Object.keys(GPU).map((quantity) =>
          get(`/readings/latest?${new URLSearchParams({ site: rack.site, within: rack.id, quantity })}`),
        ),
      );
      if (key !== this.#key) return;
      const gpus = new Map();
      for (const { items } of answers)
        for (const reading of items) {
          const gpu = gpus.get(reading.asset) ?? { id: reading.asset, values: {}, points: [] };
          gpu.values[reading.quantity] = reading.value;
          if (reading.quantity in GPU && reading.quantity !== "GpuXid") gpu.points.push(reading.point);
          gpus.set(reading.asset, gpu);
        }
      this.#gpuPoints = new Map([...gpus.values()].map((gpu) => [gpu.id, gpu.points.slice(0, 3)]));
      const known = [...gpus.values()].sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
      text(this.gpuWord, known.length ? "" : "None of its GPUs has said anything yet.");
      this.gpuWord.hidden = known.length > 0;
      this.#draw(known);
      this.#history();
    } catch (problem) {
      this.gpuWord.hidden = false;
      if (key === this.#key) text(this.gpuWord, `The GPUs could not be asked for. ${problem.message}`);
    }
  }

  #draw(gpus) {
    const scale = this.#store.quantities.find((quantity) => quantity.key === "gpu_c") ?? { low: 40, high: 90 };
    const nodes = new Map();
    for (const gpu of gpus) {
      const node = gpu.id.replace(/[-_. ]?gpu\d+$/i, "");
      nodes.set(node, [...(nodes.get(node) ?? []), gpu]);
    }
    keyed(
      this.gpus,
      [...nodes],
      ([node]) => node,
      ([node]) => el("div.node", {}, el("span.sub", {}, node), el("div.row.cellrow")),
      (place, [, some]) =>
        keyed(
          place.lastChild,
          some,
          (gpu) => gpu.id,
          () => el("button.gpu", { type: "button" }),
          (cell, gpu) => {
            const { GpuTemperature: hot, GpuXid: xid, GpuClockEventReasons: slow } = gpu.values;
            const share = (hot - scale.low) / (scale.high - scale.low);
            attr(cell, "data-q", typeof hot === "number" ? Math.max(0, Math.min(STEPS - 1, Math.floor(share * STEPS))) : null);
            text(cell, `${value("gpu_c", "°C", hot)}${slow ? " ↓" : ""}${xid ? " ✕" : ""}`);
            const words = `${gpu.id}: ${describe(gpu.values)}`;
            attr(cell, "title", words);
            attr(cell, "aria-label", words);
            attr(cell, "aria-pressed", String(this.#route.query.get("gpu") === gpu.id));
          },
        ),
    );
  }

  #choose(event) {
    const id = event.target.closest(".gpu")?.dataset.key;
    if (!id) return;
    for (const cell of this.gpus.querySelectorAll(".gpu")) attr(cell, "aria-pressed", String(cell.dataset.key === id));
    this.#route.set({ gpu: id, show: "gpu" });
    this.chart.root.scrollIntoView({ block: "nearest" });
  }

  #show(what) {
    this.#route.set({ show: what });
  }

  // What can be looked at: a choice of points for each line of the list.
  #history() {
    const by = (...quantities) => this.#points.filter((point) => quantities.includes(point.quantity)).map((point) => point.id);
    const gpu = this.#route.query.get("gpu");
    const choices = [
      ["power", "Power", by("RackPower")],
      ["liquid", "Supply and return temperature", by("RackLiquidSupplyTemperature", "RackLiquidReturnTemperature")],
      ["flow", "Flow and differential pressure", by("RackLiquidFlow", "RackLiquidDifferentialPressure")],
      ...(gpu ? [["gpu", `GPU ${gpu}: temperature, power, use`, this.#gpuPoints.get(gpu) ?? []]] : []),
      ...this.#points.map((point) => [String(point.id), plain(point.name || point.quantity), [point.id]]),
    ].filter(([key, , points]) => points.length || key === "gpu");
    keyed(
      this.what,
      choices,
      ([key, name]) => `${key} ${name}`,
      ([key, name]) => el("option", { value: key }, name),
    );
    const wanted = this.#route.query.get("show");
    const chosen = choices.find(([key]) => key === wanted) ?? choices[0];
    if (!chosen) return;
    this.what.value = chosen[0];
    this.chart.show(chosen[2]);
  }
}

const describe = (values) =>
  Object.entries(GPU)
    .filter(([quantity]) => quantity in values && (typeof values[quantity] === "number" || quantity === "GpuTemperature"))
    .map(([quantity, [name, unit, digits]]) => `${name} ${number(values[quantity], digits)} ${unit}`.trim())
    .join(", ");

// A feed's meter: power, the current of each phase, and what its breaker bears.
function meter({ id, details, readings }) {
  const latest = new Map(readings.map((reading) => [reading.point, reading.value]));
  const first = (quantity) => {
    const point = details.find((one) => one.quantity === quantity && !one.setpoint);
    return point ? (latest.get(point.id) ?? null) : null;
  };
  const phases = details
    .filter((point) => point.quantity === "PhaseCurrent" && point.phase)
    .map((point) => [point.phase, latest.get(point.id) ?? null]);
  return { id, power: first("ActivePower"), limit: first("CurrentLimit"), phases: new Map(phases) };
}

/** What becomes of the other feeds when one is lost: its current goes to them in equal parts, phase by phase. */
export function failover(lost, meters) {
  const others = meters.filter((one) => one !== lost);
  const told = others.map((one) => {
    const loads = [...one.phases].map(([phase, own]) => [phase, own, lost.phases.get(phase)]);
    if (typeof one.limit !== "number") return `whether ${one.id} bears it is not known: its limit is not told`;
    if (!loads.length || loads.some(([, own, more]) => typeof own !== "number" || typeof more !== "number"))
      return `whether ${one.id} bears it is not known: a phase current is missing`;
    const [phase, most] = loads
      .map(([name, own, more]) => [name, own + more / others.length])
      .reduce((a, b) => (b[1] > a[1] ? b : a));
    const left = one.limit - most;
    const rest = left >= 0 ? `${number(left, 0)} A left` : `${number(-left, 0)} A too much`;
    return `${one.id} carries ${number(most, 0)} A of ${number(one.limit, 0)} A on phase ${phase} (${number((100 * most) / one.limit, 0)} %): ${rest}`;
  });
  return `Without ${lost.id}, ${told.join("; ") || MISSING}.`;
}
