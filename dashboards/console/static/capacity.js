// How much more fits, what stops it first, whether redundancy is true right now, and how full it has been.
// Lives here: the page. Not here: the arithmetic (the service), the racks themselves (hall.js).

import { get } from "./api.js";
import { save } from "./csv.js";
import { el, keyed, text } from "./dom.js";
import { MISSING, many, number } from "./format.js";
import { words } from "./names.js";
import { tableCard } from "./table-card.js";

const EVERY_MS = 30_000;
const LEVELS = [
  ["hall", "halls"],
  ["row", "rows"],
  ["rack", "racks"],
  ["site", "sites"],
];
const WINDOWS = [
  ["24h", "last 24 h"],
  ["7d", "last 7 days"],
  ["30d", "last 30 days"],
];
const SHOWN = 200;
const ASKED_MAX = 40; // scopes of one question about use
const HOLDS = { yes: "holds", no: "does not hold", unknown: "not known" };

const figure = (one) =>
  one?.value == null ? MISSING : `${number(one.value, 0)} ${one.unit}${one.kind === "measured" ? "" : " est."}`;
const scopeName = (scope) => scope.split("/").slice(1).join(" · ");
const percent = (v) => (typeof v === "number" ? `${number(v, 0)}\u00a0%` : MISSING);

export class Capacity {
  #route;
  #asked = -Infinity;
  #key = "";
  #items = [];

  constructor({ route }) {
    this.#route = route;
    const choice = (name, label, options) =>
      el(
        "select",
        { "aria-label": label, change: (event) => route.set({ [name]: event.target.value }) },
        ...options.map(([key, said]) => el("option", { value: key }, said)),
      );
    this.level = choice("level", "Of what", LEVELS);
    this.window = choice("window", "Use over", WINDOWS);
    this.word = el("p.sub", { role: "status" }, "Asking for the headroom.");
    this.rows = el("tbody");
    this.redundancy = el("tbody");
    this.standing = el("p.sub", { role: "status" });
    this.use = el("tbody");
    this.used = el("p.sub", { role: "status" });
    this.body = el(
      "div.drawer",
      { hidden: true },
      tableCard("Headroom", ["Place", "Racks", "May draw more", "What stops it first", "By resource", "Not known"], this.rows),
      tableCard("Redundancy right now", ["Place", "Power", "Cooling", "Weakest"], this.redundancy, { before: [this.standing] }),
      tableCard("Power in use", ["Place", "Mean", "95 of 100", "Peak", "Of rating", "Failover-safe", "Covered"], this.use, { before: [this.used] }),
    );
    this.nodes = [
      el(
        "div.row.spread",
        {},
        el("h1", {}, "Capacity"),
        el(
          "div.row",
          {},
          this.level,
          this.window,
          el("button", { type: "button", click: () => this.#save() }, "CSV"),
        ),
      ),
      this.word,
      this.body,
    ];
  }

  place() {
    return "Capacity";
  }

  #asking() {
    const of = (name, options) => {
      const said = this.#route.query.get(name);
      return options.some(([key]) => key === said) ? said : null;
    };
    return { level: of("level", LEVELS) ?? "hall", window: of("window", WINDOWS) ?? "7d" };
  }

  update() {
    const { level, window } = this.#asking();
    this.level.value = level;
    this.window.value = window;
    if (this.#key === `${level} ${window}`) return;
    this.#key = `${level} ${window}`;
    this.#asked = -Infinity;
    this.beat();
  }

  alarms() {} // nothing here is an alarm's

  async beat() {
    if (document.hidden || performance.now() - this.#asked < EVERY_MS) return;
    this.#asked = performance.now();
    const key = this.#key;
    const { level, window } = this.#asking();
    try {
      const { items, total, conflicts } = await get(`/capacity?level=${level}&limit=${SHOWN}`);
      if (key !== this.#key) return;
      this.#items = items;
      this.body.hidden = false;
      const said = [
        items.length ? "" : "Nothing here has a rating or a place: capacity is worked out from the inventory.",
        total > items.length && `The first ${number(items.length, 0)} of ${number(total, 0)}.`,
        conflicts && `The inventory contradicts itself ${conflicts === 1 ? "once" : `${conflicts} times`}: figures may be wrong for it.`,
      ];
      text(this.word, said.filter(Boolean).join(" "));
      this.#headroom(items);
    } catch (problem) {
      if (key === this.#key) text(this.word, this.#told(problem, this.#items.length));
      if (problem.status === 404) return;
    }
    await Promise.all([this.#redundancy(key), this.#use(key, window)]);
  }

  #told(problem, old) {
    if (problem.status === 404) return "This service does not answer questions about capacity.";
    return `${old ? "These figures are old. " : ""}${problem.message}`;
  }

  #headroom(items) {
    fill(
      this.rows,
      items.map(({ scope, racks, headroom, binding, resources }) => [
        scopeName(scope),
        number(racks, 0),
        figure(headroom),
        binding ? `${words(binding.resource)} at ${binding.at}` : headroom.why || MISSING,
        resources.map((one) => `${words(one.resource)} ${figure(one.headroom)}`).join(" · "),
        [...new Set(resources.flatMap((one) => one.unknown))].join("; "),
      ]),
    );
  }

  async #redundancy(key) {
    try {
      const { halls, items, total } = await get(`/redundancy?limit=${SHOWN}`);
      if (key !== this.#key) return;
      const failing = items.filter((one) => one.holds === "no").length;
      text(this.standing, `${many(failing, "rack or group", "racks or groups")} of ${number(total, 0)} would not stand the loss of one part.`);
      fill(
        this.redundancy,
        halls.map((hall) => [
          scopeName(hall.scope) || "not placed",
          HOLDS[hall.power] ?? hall.power,
          HOLDS[hall.cooling] ?? hall.cooling,
          [hall.weakest_power, hall.weakest_cooling]
            .filter(Boolean)
            .map((one) => `${one.weakest || scopeName(one.scope)}: ${percent(one.margin_pct)} left${one.why ? ` (${one.why})` : ""}`)
            .join("; "),
        ]),
      );
    } catch (problem) {
      if (key === this.#key) text(this.standing, this.#told(problem, this.redundancy.childElementCount));
    }
  }

  async #use(key, window) {
    const scopes = this.#items.map((one) => one.scope).slice(0, ASKED_MAX);
    if (!scopes.length) return;
    const query = new URLSearchParams({ resource: "power", window });
    for (const scope of scopes) query.append("scope", scope);
    try {
      const { answers, unit } = await get(`/utilization?${query}`);
      if (key !== this.#key) return;
      text(this.used, this.#items.length > scopes.length ? `The first ${scopes.length} places.` : "");
      fill(
        this.use,
        answers.map((one) => {
          const of = (what) => one.against.find((against) => against.what === what);
          const shown = (v) => (v == null ? MISSING : `${number(v, 0)} ${unit}${one.kind === "measured" ? "" : " est."}`);
          return [
            scopeName(one.scope),
            shown(one.mean),
            shown(one.p95),
            shown(one.peak),
            percent(of("rating")?.p95_pct),
            percent(of("failover_safe")?.p95_pct),
            `${percent(one.coverage_pct)}${one.mean == null ? ` · ${one.why}` : ""}`,
          ];
        }),
      );
    } catch (problem) {
      if (key === this.#key) text(this.used, this.#told(problem, this.use.childElementCount));
    }
  }

  #save() {
    save(
      `capacity-${this.#asking().level}`,
      ["scope", "racks", "headroom_kw", "kind", "binding", "at", ...this.#resources().map((name) => `${name}_headroom`)],
      this.#items.map(({ scope, racks, headroom, binding, resources }) => [
        scope,
        racks,
        headroom.value,
        headroom.kind,
        binding?.resource,
        binding?.at,
        ...this.#resources().map((name) => resources.find((one) => one.resource === name)?.headroom.value),
      ]),
    );
  }

  #resources() {
    return [...new Set(this.#items.flatMap((one) => one.resources.map(({ resource }) => resource)))];
  }
}

function fill(body, rows) {
  keyed(
    body,
    (rows.length ? rows : [["none"]]).map((cells, i) => ({ cells, i })),
    ({ i, cells }) => `${i} ${cells.length}`,
    ({ cells }) => el("tr", {}, ...cells.map(() => el("td"))),
    (row, { cells }) => cells.forEach((cell, i) => text(row.children[i], cell)),
  );
}
