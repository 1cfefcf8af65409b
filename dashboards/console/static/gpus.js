// All GPUs: how hot, how much power, what holds their clocks down and why, XID errors, thermal resistance. The service
// sorts and cuts, so that eight thousand cost no more here than eight. Lives here: the page. Not here: one rack (rack.js).

import { get } from "./api.js";
import { save } from "./csv.js";
import { attr, el, keyed, mark, setMark, svg, text } from "./dom.js";
import { MISSING, age, many, number } from "./format.js";
import { address } from "./route.js";
import { ScopeChoice, assetIn } from "./scope.js";
import { keyOf, unacknowledged } from "./store.js";

const EVERY_MS = 5_000;
const SHOWN = 50;
const SAVED_MAX = 20_000;
const CAUSES = {
  thermal: "too hot",
  power_cap: "power limit",
  power_brake: "power brake",
  hardware: "hardware",
  sync_boost: "sync boost",
};
const ONLY = [
  ["", "every GPU"],
  ["slowed", "held down by anything"],
  ["thermal", "held down: too hot"],
  ["power_cap", "held down: power limit"],
  ["power_brake", "held down: power brake"],
  ["hardware", "held down: hardware"],
  ["sync_boost", "held down: sync boost"],
  ["xid", "with an XID error"],
  ["stale", "not heard"],
];
// Key, heading, numeric, how a cell is written.
const COLUMNS = [
  ["temperature_c", "°C", true, (gpu) => number(gpu.temperature_c, 0)],
  ["margin_k", "Margin, K", true, (gpu) => number(gpu.margin_k, 0)],
  ["power_kw", "kW", true, (gpu) => (gpu.limit_kw === null ? number(gpu.power_kw, 2) : `${number(gpu.power_kw, 2)} of ${number(gpu.limit_kw, 2)}`)],
  ["busy_pct", "Busy, %", true, (gpu) => number(gpu.busy_pct, 0)],
  ["slowdowns", "Held down by", false, (gpu) => (gpu.causes === null ? MISSING : gpu.causes.map((cause) => CAUSES[cause] ?? cause).join(", "))],
  ["xid", "XID", true, (gpu) => (gpu.xid === null ? "" : String(gpu.xid))],
  ["resistance_k_w", "K/W", true, (gpu) => number(gpu.resistance_k_w, 3)],
  ["age_s", "Heard", true, (gpu) => (gpu.age_s === null ? "never" : age(gpu.age_s))],
];
const SORTS = ["id", "rack", ...COLUMNS.map(([key]) => key)];
const HIGHEST_FIRST = new Set(["temperature_c", "power_kw", "busy_pct", "slowdowns", "xid", "resistance_k_w", "age_s"]);
const BARS = { width: 320, height: 56, pitch: 5, from: 20, to: 110 };

export class GpusPage {
  #store;
  #route;
  #asked = -Infinity;
  #key = "";
  #told = null;

  constructor({ store, route }) {
    this.#store = store;
    this.#route = route;
    this.scope = new ScopeChoice(store, route, { whole: "all halls" });
    this.rack = el("input", {
      type: "search",
      placeholder: "Rack",
      "aria-label": "Only of the rack",
      change: () => this.#rack(this.rack.value.trim()),
    });
    this.only = el(
      "select",
      { "aria-label": "Only", change: () => route.set({ only: this.only.value, from: null }) },
      ...ONLY.map(([key, name]) => el("option", { value: key }, name)),
    );
    this.word = el("p.sub", { role: "status" }, "Asking for the GPUs.");
    this.sum = el("dl.facts");
    this.bars = svg("svg", { class: "bars", viewBox: `0 0 ${BARS.width} ${BARS.height + 14}`, role: "img" });
    this.heads = ["id", "rack", ...COLUMNS.map(([key]) => key)].map((key) => {
      const [, name, right] = COLUMNS.find(([one]) => one === key) ?? [key, key === "id" ? "GPU" : "Rack", false];
      return el(right ? "th.n" : "th", { "data-sort": key }, el("button.plain.sort", { type: "button", click: () => this.#sort(key) }, name));
    });
    this.rows = el("tbody");
    this.before = el("button", { type: "button", click: () => this.#turn(-SHOWN) }, `‹ ${SHOWN} before`);
    this.after = el("button", { type: "button", click: () => this.#turn(SHOWN) }, `${SHOWN} after ›`);
    this.where = el("span.sub.n", { role: "status" });
    this.body = el(
      "div.drawer",
      { hidden: true },
      el(
        "div.below",
        {},
        el("section.card", {}, el("h2", {}, "Together"), this.sum),
        el("section.card", {}, el("h2", {}, "By temperature, °C"), this.bars),
      ),
      el(
        "section.card.table",
        { "aria-label": "GPUs", tabindex: "0" },
        el("table.fleet", {}, el("thead", {}, el("tr", {}, ...this.heads)), this.rows),
      ),
      el("div.row", {}, this.before, this.where, this.after),
      el(
        "p.sub",
        {},
        "K/W: temperature less the rack’s supply, by power, at this moment and above 30 % of the power limit; the alarms go by means over minutes. Margin: until the GPU slows itself down.",
      ),
    );
    this.nodes = [
      el(
        "div.row.spread",
        {},
        el("h1", {}, "GPUs"),
        el("div.row", {}, this.scope.root, this.rack, this.only, el("button", { type: "button", click: () => this.#save() }, "CSV")),
      ),
      this.word,
      this.body,
    ];
  }

  place() {
    return "GPUs";
  }

  #asking() {
    const { query } = this.#route;
    const from = Number(query.get("from"));
    const asked = query.get("sort") ?? "";
    const sort = SORTS.includes(asked.replace(/^-/, "")) ? asked : "temperature_c";
    const key = sort.replace(/^-/, "");
    return {
      of: this.scope.chosen(),
      only: ONLY.some(([one]) => one === query.get("only")) ? query.get("only") : "",
      sort: key,
      order: HIGHEST_FIRST.has(key) !== sort.startsWith("-") ? "desc" : "asc",
      from: Number.isInteger(from) && from > 0 ? from : 0,
    };
  }

  update() {
    const asking = this.#asking();
    this.scope.update();
    this.only.value = asking.only;
    if (document.activeElement !== this.rack) this.rack.value = assetIn(asking.of);
    for (const head of this.heads)
      attr(head, "aria-sort", head.dataset.sort === asking.sort && (asking.order === "asc" ? "ascending" : "descending"));
    const key = JSON.stringify(asking);
    if (key === this.#key) return;
    this.#key = key;
    this.#asked = -Infinity;
    this.beat();
  }

  values() {} // the hall's values are not those of GPUs

  alarms() {
    if (this.#told) this.#draw();
  }

  // A rack by its id alone: the hall's racks say of which site. What is not among them the service is asked for all the same.
  #rack(id) {
    const known = [...this.#store.racks.values()].find((rack) => rack.id === id);
    const site = known?.site ?? this.#store.halls[0]?.site ?? "";
    this.#route.set({ of: id ? `asset/${site}/${id}` : null, from: null });
  }

  #sort(key) {
    const now = this.#route.query.get("sort") ?? "temperature_c";
    this.#route.set({ sort: now === key ? `-${key}` : key === "temperature_c" ? null : key, from: null });
  }

  #turn(by) {
    const from = Math.max(0, this.#asking().from + by);
    this.#route.set({ from: from ? String(from) : null });
  }

  #query(more) {
    const { of, only, sort, order } = this.#asking();
    const query = new URLSearchParams({ sort, order, ...more });
    if (of) query.set("scope", of);
    if (only) query.set("only", only);
    return `/gpus?${query}`;
  }

  async beat() {
    if (document.hidden || performance.now() - this.#asked < EVERY_MS) return;
    this.#asked = performance.now();
    const key = this.#key;
    try {
      const told = await get(this.#query({ offset: this.#asking().from, limit: SHOWN }));
      if (key !== this.#key) return;
      if (!told.items.length && told.offset && told.total) return this.#route.set({ from: null }); // fewer match by now
      this.#told = told;
      this.body.hidden = false;
      text(this.word, told.fleet.gpus ? "" : "No GPU has been heard of here yet: they come with GPU telemetry.");
      this.#draw();
    } catch (problem) {
      if (key !== this.#key) return;
      text(this.word, `${this.#told && problem.status !== 404 ? "These figures are old. " : ""}${problem.message}`);
      if (problem.status === 404) this.body.hidden = true;
    }
    this.word.hidden = !this.word.textContent;
  }

  #draw() {
    const { items, total, offset, fleet } = this.#told;
    this.#together(fleet);
    this.#bars(fleet.temperatures);
    keyed(this.rows, items, (gpu) => `${gpu.site}/${gpu.id}`, makeRow, (row, gpu) => this.#patch(row, gpu));
    text(
      this.where,
      total ? `${number(offset + 1, 0)} to ${number(offset + items.length, 0)} of ${many(total, "GPU")}` : "No GPU is like that now.",
    );
    this.before.disabled = offset === 0;
    this.after.disabled = offset + items.length >= total;
  }

  #together({ gpus, heard, hottest_c, power_kw, power_of, slowed, xid }) {
    const facts = [
      ["GPUs", heard === gpus ? number(gpus, 0) : `${number(gpus, 0)}, ${number(gpus - heard, 0)} not heard`],
      ["Hottest", hottest_c === null ? MISSING : `${number(hottest_c, 0)} °C`],
      ["Power", power_kw === null ? MISSING : `${number(power_kw, 0)} kW${power_of < gpus ? ` of ${number(power_of, 0)} GPUs` : ""}`],
      ...Object.entries(slowed).map(([cause, count]) => [`Held down: ${CAUSES[cause] ?? cause}`, number(count, 0)]),
      ["With an XID error", number(xid, 0)],
    ];
    keyed(
      this.sum,
      facts.flatMap(([name, shown]) => [
        ["dt", name, name],
        ["dd", `${name} value`, shown],
      ]),
      (fact) => fact[1],
      ([tag]) => el(tag),
      (node, fact) => text(node, fact[2]),
    );
  }

  #bars(steps) {
    const most = Math.max(1, ...steps.map(([, count]) => count));
    const x = (c) => ((Math.min(BARS.to, Math.max(BARS.from, c)) - BARS.from) / (BARS.to - BARS.from)) * BARS.width;
    attr(
      this.bars,
      "aria-label",
      steps.length ? steps.map(([from, count]) => `${from} to ${from + BARS.pitch} °C: ${count}`).join("; ") : "No GPU tells its temperature",
    );
    this.bars.replaceChildren(
      svg("path", { class: "axis", d: `M0 ${BARS.height}H${BARS.width}` }),
      ...steps.map(([from, count]) => {
        const height = Math.max(1, (count / most) * (BARS.height - 12));
        const width = BARS.pitch * (BARS.width / (BARS.to - BARS.from)) - 2;
        return svg(
          "g",
          {},
          svg("rect", { x: x(from) + 1, y: BARS.height - height, width, height }),
          svg("text", { x: x(from) + 1 + width / 2, y: BARS.height - height - 2, "text-anchor": "middle" }, String(count)),
        );
      }),
      ...[20, 40, 60, 80, 100].map((c) => svg("text", { x: x(c), y: BARS.height + 12, "text-anchor": c === 20 ? "start" : "middle" }, String(c))),
    );
  }

  #patch(row, gpu) {
    row.classList.toggle("old", gpu.stale);
    const [name, rack, ...cells] = row.children;
    const alarm = this.#store.worst.get(keyOf(gpu.site, gpu.id)) ?? null;
    if (alarm && !name.querySelector(".pri")) name.prepend(mark(alarm.priority), " ");
    if (alarm) {
      setMark(name.firstChild, alarm.priority, unacknowledged(alarm));
      attr(name.firstChild, "title", alarm.title);
    } else if (name.querySelector(".pri")) name.replaceChildren(name.lastChild);
    const link = name.lastChild;
    text(link, gpu.id);
    const home = gpu.rack ? `${gpu.site}/${gpu.rack}` : null;
    attr(link, "href", home && address("rack", home, { gpu: gpu.id, show: "gpu" }));
    text(rack, gpu.rack || MISSING);
    COLUMNS.forEach(([, , , told], i) => text(cells[i], `${gpu.stale && i === 0 ? "? " : ""}${told(gpu)}`));
  }

  async #save() {
    try {
      const { items } = await get(this.#query({ limit: SAVED_MAX }));
      save(
        "gpus",
        ["site", "rack", "gpu", "temperature_c", "margin_k", "power_kw", "limit_kw", "busy_pct", "held_down_by", "xid", "resistance_k_w", "age_s"],
        items.map((gpu) => [
          gpu.site, gpu.rack, gpu.id, gpu.temperature_c, gpu.margin_k, gpu.power_kw, gpu.limit_kw, gpu.busy_pct,
          gpu.causes?.join(" "), gpu.xid, gpu.resistance_k_w, gpu.age_s,
        ]),
      );
    } catch (problem) {
      text(this.word, problem.message);
      this.word.hidden = false;
    }
  }
}

function makeRow() {
  return el("tr", {}, el("td", {}, el("a")), el("td"), ...COLUMNS.map(([, , right]) => el(right ? "td.n" : "td")));
}
