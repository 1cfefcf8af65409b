// The hall as it stands: rows of racks, above each the CDUs that serve it. Lives here: the plan of the floor, a tile per
// asset, moving among them by keys, the card beside the pointer. Not here: headings and choosers (hall.js).
//
// A thousand racks must stay light: a tile is touched only where what it shows has changed.

import { attr, el, mark, setMark, text } from "./dom.js";
import { MISSING, age, number, unitOf, value } from "./format.js";
import { nameOf } from "./names.js";
import { keyOf, returned, unacknowledged } from "./store.js";
import * as clock from "./clock.js";

const STEPS = 5;
const TILE_MIN = 40; // px: narrower tiles become cells without text
const CELL_MIN_FIGURE = 34; // px: wide enough for a figure in a cell
const TILE_ROWS_MAX = 12; // more rows than this would not fit on one screen as tiles
const NARROW = 520; // px: a row no longer fits on one line, so it wraps
const GAPS_MAX = 2; // positions per rack beyond which they are no floor plan
const GAP_PX = 6;
const NAME_PX = 40;

/**
 * What to draw for a hall: lines of {name, cdus: [{key, rows}], racks: [key or null for an empty place], label}.
 * Rows that the settings place keep their positions; unplaced racks are grouped by what cools them.
 */
export function plan(hall, racks) {
  const key = (id) => keyOf(hall.site, id);
  const placed = hall.hall !== "";
  const rows = placed ? hall.rows : byCoolant(hall, racks);
  const serves = new Map();
  for (const row of rows) {
    const cooling = new Set([...row.cdus, ...row.racks.flatMap((id) => racks.get(key(id))?.cdus ?? [])]);
    for (const cdu of cooling) serves.set(cdu, [...(serves.get(cdu) ?? []), row.row]);
  }
  const drawn = new Set();
  const lines = rows.map((row) => {
    const fresh = row.cdus.filter((cdu) => !drawn.has(cdu));
    for (const cdu of fresh) drawn.add(cdu);
    const keys = row.racks.map(key);
    const positions = keys.map((k) => racks.get(k)?.position);
    const cut = prefix(row.racks.map((id, i) => racks.get(keys[i])?.name ?? id));
    const standing =
      placed &&
      positions.every((p) => Number.isInteger(p) && p > 0) &&
      new Set(positions).size === positions.length &&
      Math.max(...positions) <= GAPS_MAX * positions.length + 4;
    return {
      name: placed ? row.row : "",
      title: placed || row.cdus.length ? "" : "No CDU is known to cool these",
      cdus: fresh.map((cdu) => ({ key: key(cdu), rows: placed ? serves.get(cdu) : [] })),
      racks: standing ? spread(keys, positions) : keys,
      label: (k) => {
        const rack = racks.get(k);
        return standing ? String(rack.position).padStart(2, "0") : (rack?.name ?? k).slice(cut);
      },
    };
  });
  return {
    lines,
    columns: Math.max(1, ...lines.map((line) => line.racks.length)),
    count: lines.reduce((n, line) => n + line.racks.filter(Boolean).length, 0),
    placed,
  };
}

function spread(keys, positions) {
  const line = new Array(Math.max(0, ...positions)).fill(null);
  keys.forEach((key, i) => {
    line[positions[i] - 1] = key;
  });
  return line;
}

function byCoolant(hall, racks) {
  const groups = new Map();
  const cduOnly = [];
  for (const row of hall.rows) {
    if (!row.racks.length) cduOnly.push({ row: "", cdus: row.cdus, racks: [] });
    for (const id of row.racks) {
      const cdus = racks.get(keyOf(hall.site, id))?.cdus ?? [];
      const group = cdus.join("\n");
      if (!groups.has(group)) groups.set(group, { row: "", cdus, racks: [] });
      groups.get(group).racks.push(id);
    }
  }
  return [...[...groups.values()].sort((a, b) => (b.cdus.length > 0) - (a.cdus.length > 0)), ...cduOnly];
}

// How much of the beginning the names share, up to a separator: "Pod1C-E01", "Pod1C-E02" → 6.
function prefix(names) {
  if (names.length < 2) return 0;
  let length = 0;
  while (names.every((name) => name.length > length + 1 && name[length] === names[0][length])) length += 1;
  while (length > 0 && !/[-_ .:/]/.test(names[0][length - 1])) length -= 1;
  return length;
}

/** The step of lightness of a value on a scale: 0 to 4; null where there is no value. */
export function step(v, low, high) {
  if (typeof v !== "number") return null;
  if (typeof low !== "number" || typeof high !== "number" || high <= low) return 1;
  return Math.min(STEPS - 1, Math.max(0, Math.floor(((v - low) / (high - low)) * STEPS)));
}

export class HallMap {
  #store;
  #isStale;
  #tiles = new Map();
  #by = null;
  #plan = null;
  #selected = null;
  #hover = null;
  #home = null;

  /** isStale(asset): whether its values may still be trusted. choose(key): somebody selected an asset. */
  constructor(store, isStale, choose) {
    this.#store = store;
    this.#isStale = isStale;
    this.root = el("section.hall.card", {
      role: "group",
      keydown: (e) => this.#key(e),
      click: (e) => this.#pick(e, choose),
      pointerover: (e) => this.#over(e),
      pointerleave: () => this.#card(null),
      focusin: (e) => this.#focus(e),
      focusout: () => this.#card(null),
    });
    this.card = el("div.hover", { hidden: true, "aria-hidden": "true" });
    new ResizeObserver(() => this.#fit()).observe(this.root);
  }

  /** Draws the floor. Tiles of assets that were there stay, so the focus does. */
  draw(hall) {
    this.#plan = plan(hall, this.#store.racks);
    attr(this.root, "aria-label", `Racks of ${hall.hall || "no hall"}. Arrow keys move, Enter selects.`);
    const had = this.#tiles;
    this.#tiles = new Map();
    const focused = document.activeElement?.dataset?.key;
    const lines = this.#plan.lines.map((line) =>
      el(
        "div.line",
        {},
        line.title ? el("div.groupname", {}, line.title) : null,
        line.cdus.length ? el("div.cdus", {}, ...line.cdus.map((cdu) => this.#cdu(had, cdu))) : null,
        line.racks.length
          ? el(
              "div.racks",
              {},
              el("span.rowname", line.name ? { title: `Row ${line.name}` } : {}, line.name),
              el(
                "div.tiles",
                {},
                ...line.racks.map((key) => (key ? this.#rack(had, key, line.label(key)) : el("div.gap"))),
              ),
            )
          : null,
      ),
    );
    this.root.replaceChildren(...lines);
    this.#fit();
    this.update();
    this.marks();
    this.select(this.#selected);
    if (focused && this.#tiles.has(focused)) this.#tiles.get(focused).node.focus();
  }

  #rack(had, key, label) {
    const tile = had.get(key) ?? {
      key,
      node: el("button.rack", { type: "button", "data-key": key, tabindex: "-1" }, el("span"), el("b")),
    };
    text(tile.node.firstChild, label);
    tile.figure = tile.node.children[1];
    attr(tile.node, "aria-label", this.#store.racks.get(key)?.name ?? key);
    this.#tiles.set(key, tile);
    return tile.node;
  }

  #cdu(had, { key, rows }) {
    const tile = had.get(key) ?? {
      key,
      cdu: true,
      node: el(
        "button.cdu",
        { type: "button", "data-key": key, tabindex: "-1" },
        el("b"),
        el("span", {}, "supply ", el("b.n")),
        el("span.n"),
        el("span.mut"),
      ),
    };
    const cdu = this.#store.cdus.get(key);
    text(tile.node.firstChild, cdu?.name ?? key);
    text(tile.node.children[3], rows.length > 1 ? `rows ${rows.join(", ")}` : "");
    attr(tile.node, "aria-label", `CDU ${cdu?.name ?? key}`);
    this.#tiles.set(key, tile);
    return tile.node;
  }

  /** Colours by another quantity. */
  colour(quantity) {
    this.#by = quantity;
    this.update();
  }

  /** Patches the tiles of these assets, or of all. */
  update(keys = null) {
    if (!this.#by) return;
    for (const key of keys ?? this.#tiles.keys()) {
      const tile = this.#tiles.get(key);
      if (tile) (tile.cdu ? this.#paintCdu : this.#paintRack).call(this, tile);
    }
    if (this.#hover && (!keys || keys.has(this.#hover.key))) this.#fill();
  }

  #paintRack(tile) {
    const rack = this.#store.racks.get(tile.key);
    if (!rack) return;
    const v = rack.values[this.#by.key];
    const shown = value(this.#by.key, this.#by.unit, v);
    const lightness = step(v, this.#by.low, this.#by.high);
    const stale = this.#isStale(rack);
    if (shown !== tile.shown) tile.figure.textContent = tile.shown = shown;
    if (lightness !== tile.lightness) attr(tile.node, "data-q", (tile.lightness = lightness));
    if (stale !== tile.stale) tile.node.classList.toggle("stale", (tile.stale = stale));
  }

  #paintCdu(tile) {
    const cdu = this.#store.cdus.get(tile.key);
    if (!cdu) return;
    const stale = this.#isStale(cdu);
    text(tile.node.children[1].children[0], `${value("supply_c", "°C", cdu.values.supply_c)} °C`);
    text(tile.node.children[2], `${value("flow_lpm", "L/min", cdu.values.flow_lpm)} L/min`);
    if (stale !== tile.stale) tile.node.classList.toggle("stale", (tile.stale = stale));
  }

  /** Patches the alarm marks of these assets, or of all. */
  marks(keys = this.#tiles.keys()) {
    for (const key of keys) {
      const tile = this.#tiles.get(key);
      if (!tile) continue;
      const alarm = this.#store.worst.get(key);
      attr(tile.node, "data-p", alarm?.priority);
      attr(tile.node, "data-back", Boolean(alarm && returned(alarm)));
      attr(tile.node, "data-masked", !alarm && this.#store.maskedAt.has(key));
      const fresh = this.#store.alarmsAt(key).some(unacknowledged);
      if (!alarm) tile.mark?.remove();
      else if (tile.mark?.isConnected) setMark(tile.mark, alarm.priority, fresh);
      else tile.node.append((tile.mark = mark(alarm.priority, fresh)));
    }
  }

  /** Shows which asset is selected. */
  select(key) {
    this.#tiles.get(this.#selected)?.node.removeAttribute("aria-current");
    this.#selected = key;
    this.#tiles.get(key)?.node.setAttribute("aria-current", "true");
    this.#rove(key);
  }

  /** Puts the focus on the selected tile, or on the first. */
  focus() {
    this.#tiles.get(this.#home)?.node.focus();
  }

  // One stop of the Tab key for the whole map: the arrows do the rest.
  #rove(key) {
    const next = this.#tiles.has(key)
      ? key
      : this.#tiles.has(this.#home)
        ? this.#home
        : this.#tiles.keys().next().value;
    if (this.#home !== next) this.#tiles.get(this.#home)?.node.setAttribute("tabindex", "-1");
    this.#home = next ?? null;
    this.#tiles.get(next)?.node.setAttribute("tabindex", "0");
  }

  // Racks as tiles where there is room, as cells without text where there is not; on a narrow screen rows wrap.
  #fit() {
    if (!this.#plan) return;
    const width = this.root.clientWidth - 28 - NAME_PX;
    if (width <= 0) return;
    const { columns, lines, count, placed } = this.#plan;
    const narrow = width < NARROW - NAME_PX;
    const share = (width - GAP_PX * (columns - 1)) / columns;
    const cells = narrow ? count > 200 : placed ? share < TILE_MIN || lines.length > TILE_ROWS_MAX : count > 200;
    const wide = (width - 100) / columns - 2;
    this.root.classList.toggle("wrap", narrow || !placed);
    this.root.classList.toggle("cells", cells);
    this.root.classList.toggle("numbers", cells && !narrow && placed && wide >= CELL_MIN_FIGURE);
    this.root.style.setProperty("--columns", columns);
    this.root.style.setProperty(
      "--widest",
      columns <= 5 ? "140px" : columns <= 8 ? "104px" : columns <= 12 ? "80px" : "64px",
    );
    this.root.style.setProperty("--least", cells ? "30px" : placed ? "44px" : "72px");
  }

  #pick(event, choose) {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key) choose(key);
  }

  #key(event) {
    const from = event.target.closest("[data-key]");
    if (!from || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return this.#card(null);
    const to = next(
      event.key,
      from,
      [...this.#tiles.values()].map((tile) => tile.node),
    );
    if (to === undefined) return;
    event.preventDefault();
    if (to) to.focus();
  }

  #focus(event) {
    const node = event.target.closest("[data-key]");
    if (!node) return;
    this.#rove(node.dataset.key);
    attr(node, "aria-label", this.#words(node.dataset.key));
    if (node.matches(":focus-visible")) this.#card(node);
  }

  #over(event) {
    if (event.pointerType === "touch") return;
    this.#card(event.target.closest("[data-key]"));
  }

  // All of a tile in one sentence, for those who listen.
  #words(key) {
    const asset = this.#store.racks.get(key) ?? this.#store.cdus.get(key);
    const parts = [asset.name];
    const rack = this.#store.racks.has(key);
    if (rack && this.#by)
      parts.push(
        `${this.#by.name} ${value(this.#by.key, this.#by.unit, asset.values[this.#by.key]).replace(MISSING, "missing")} ${this.#by.unit}`,
      );
    if (!rack)
      parts.push(`CDU, supply ${value("supply_c", "°C", asset.values.supply_c).replace(MISSING, "missing")} °C`);
    if (this.#isStale(asset)) parts.push("stale");
    for (const alarm of this.#store.alarmsAt(key)) parts.push(`${alarm.priority_word} alarm: ${alarm.title}`);
    return parts.join(", ");
  }

  #card(node) {
    this.#hover = node ? { node, key: node.dataset.key } : null;
    this.card.hidden = !node;
    if (!node) return;
    this.#fill();
    const tile = node.getBoundingClientRect();
    const box = this.card.getBoundingClientRect();
    const left = Math.max(8, Math.min(tile.left, innerWidth - box.width - 8));
    const top = tile.bottom + box.height + 10 < innerHeight ? tile.bottom + 8 : Math.max(8, tile.top - box.height - 8);
    this.card.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  #fill() {
    const { key } = this.#hover;
    const rack = this.#store.racks.get(key);
    const asset = rack ?? this.#store.cdus.get(key);
    if (!asset) return this.#card(null);
    const facts = rack
      ? this.#store.quantities.map((q) => [q.name, value(q.key, q.unit, asset.values[q.key]), q.unit])
      : Object.entries(asset.values)
          .filter(([, v]) => typeof v === "number")
          .map(([k, v]) => [nameOf(k), number(v), unitOf(k)]);
    const heard =
      asset.heard === null ? "never heard" : `updated ${age(Math.max(0, clock.now() - asset.heard) / 1000)} ago`;
    this.card.replaceChildren(
      el("h3", {}, asset.name),
      el("div.sub", {}, this.#isStale(asset) ? `stale, ${heard}` : heard),
      ...this.#store
        .alarmsAt(key)
        .map((alarm) => el("div.row", {}, mark(alarm.priority, unacknowledged(alarm)), el("span", {}, alarm.title))),
      this.#store.maskedAt.has(key) ? el("div.sub", {}, `Masked: ${this.#store.maskedAt.get(key)}`) : "",
      el(
        "dl.facts",
        {},
        ...facts.flatMap(([name, v, unit]) => [el("dt", {}, name), el("dd", {}, v === MISSING ? v : `${v} ${unit}`)]),
      ),
    );
  }
}

// Where a key leads from a tile, by where the tiles stand on the screen. undefined: not a key of ours; null: nowhere.
function next(key, from, nodes) {
  const here = from.getBoundingClientRect();
  const at = nodes.indexOf(from);
  if (key === "Home") return nodes[0];
  if (key === "End") return nodes.at(-1);
  if (key === "ArrowLeft") return nodes[at - 1] ?? null;
  if (key === "ArrowRight") return nodes[at + 1] ?? null;
  if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
  const middle = (box) => (box.left + box.right) / 2;
  let best = null;
  let least = Infinity;
  for (const node of nodes) {
    const box = node.getBoundingClientRect();
    const rise = key === "ArrowUp" ? here.top - box.bottom : box.top - here.bottom;
    if (rise < -1) continue;
    // the nearest line first, and within it the nearest column
    const aside =
      here.left < box.right && here.right > box.left
        ? Math.abs(middle(box) - middle(here)) / 1e4
        : Math.abs(middle(box) - middle(here));
    const far = rise * 1e4 + aside;
    if (far < least) [best, least] = [node, far];
  }
  return best;
}
