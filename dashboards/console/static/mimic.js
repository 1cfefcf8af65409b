// A loop as a picture: drawn from the points that the CDU has and the racks that the topology says it serves, flow from
// left to right, cold above warm. What has no point leaves a labelled gap. Lives here: the drawing and its values.
// Not here: where they come from (loop.js).

import { attr, svg, text } from "./dom.js";
import { MISSING, number } from "./format.js";
import { plain } from "./names.js";
import { address } from "./route.js";
import { unacknowledged } from "./store.js";

const HEIGHT = 372;
const LEAST_WIDTH = 1180;
const RACKS_FROM = 772;
const RACKS_WIDTH = 388;
const PITCH = [14, 34]; // of the racks, least and most
const STEPS = 5;
const PUMPS_MAX = 4;

/** What a CDU measures, by what the picture calls it; null where it has no such point. */
export function gauges(details) {
  const find = (quantity, loop, side, area) =>
    details.find(
      (point) =>
        point.quantity === quantity &&
        !point.setpoint &&
        (!loop || point.loop === loop) &&
        (!side || point.side === side) &&
        (area ? point.areas.some((one) => area.test(one)) : !point.areas.some((one) => /filter|valve/i.test(one))),
    ) ?? null;
  const pumps = details.filter((point) => point.quantity === "PumpSpeed" && !point.setpoint).slice(0, PUMPS_MAX);
  return {
    facility_supply: find("LiquidTemperature", "primary", "supply"),
    facility_return: find("LiquidTemperature", "primary", "return"),
    facility_flow: find("LiquidFlow", "primary"),
    facility_kpa: find("LiquidPressure", "primary", "supply"),
    supply: find("LiquidTemperature", "secondary", "supply"),
    back: find("LiquidTemperature", "secondary", "return"),
    flow: find("LiquidFlow", "secondary"),
    supply_kpa: find("LiquidPressure", "secondary", "supply"),
    back_kpa: find("LiquidPressure", "secondary", "return"),
    valve: details.find((point) => point.quantity === "ValvePosition" && !point.setpoint) ?? null,
    filter: find("LiquidDifferentialPressure", "secondary", null, /filter/i),
    level: details.find((point) => point.quantity === "LiquidLevel" && !point.setpoint) ?? null,
    volume: find("GenericPoint", null, null, /reservoir/i),
    fill: find("PumpSpeedState", null, null, /fill/i),
    leak: details.find((point) => point.quantity === "LeakDetect") ?? null,
    pumps,
  };
}

const line = (kind, d) => svg("path", { class: `pipe ${kind}`, d });
const words = (x, y, said = "", kind = "lab", anchor = "start") => svg("text", { class: kind, x, y, "text-anchor": anchor }, said);

export class Mimic {
  #values = [];
  #racks = new Map();
  #drawn = "";

  constructor() {
    this.picture = svg("svg", { class: "mimic", role: "group" });
  }

  /** Draws a loop anew where its parts have changed. cdu: as the store has it; racks: those that it serves. */
  draw(cdu, parts, racks) {
    const drawn = JSON.stringify([cdu.name, racks.map((rack) => rack.name), Object.entries(parts).map(([k, v]) => [k, v?.id ?? v?.length])]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#values = [];
    this.#racks.clear();
    const pitch = Math.max(PITCH[0], Math.min(PITCH[1], RACKS_WIDTH / Math.max(1, racks.length)));
    const width = Math.max(LEAST_WIDTH, RACKS_FROM + racks.length * pitch + 30);
    attr(this.picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
    attr(this.picture, "aria-label", `Loop of ${cdu.name}: facility water cools the exchanger, ${parts.pumps.length} pumps feed ${racks.length} racks`);
    this.picture.replaceChildren(
      ...this.#facility(parts),
      ...this.#exchanger(),
      ...this.#pumps(parts),
      ...this.#circuit(parts, width),
      ...this.#reservoir(parts),
      ...racks.flatMap((rack, i) => this.#rack(rack, RACKS_FROM + i * pitch, pitch - 6, i)),
    );
  }

  // A value beside the pipe. A part without a point says so.
  #value(x, y, point, unit, what, anchor) {
    if (!point) return words(x, y, `no ${what}`, "lab none", anchor);
    const node = words(x, y, MISSING, "val", anchor);
    node.append(svg("title", {}, plain(point.name || point.quantity)));
    const shown = node.firstChild;
    this.#values.push((latest) => {
      const reading = latest.get(point.id);
      const said = reading?.state ?? (reading?.value == null ? MISSING : `${number(reading.value)} ${unit}`.trim());
      const doubt = reading && (reading.quality !== "good" || reading.old) ? "? " : "";
      if (shown.data !== doubt + said) shown.data = doubt + said;
    });
    return node;
  }

  #facility(parts) {
    return [
      line("cold", "M20 96H300V150"),
      line("warm", "M300 262V316H20"),
      words(20, 82, "facility supply"),
      this.#value(20, 122, parts.facility_supply, "°C", "temperature"),
      this.#value(92, 122, parts.facility_flow, "L/min", "flow"),
      this.#value(194, 122, parts.facility_kpa, "kPa", "pressure"),
      words(20, 342, "facility return"),
      this.#value(20, 362, parts.facility_return, "°C", "temperature"),
      ...(parts.valve
        ? [
            svg("path", { class: "kit", d: "M150 84l24 24v-24l-24 24z" }),
            words(186, 82, "valve"),
            this.#value(222, 82, parts.valve, "%", "valve"),
          ]
        : []),
    ];
  }

  // What the service works out of several points, live with the hall.
  #worked(x, y, key, unit, anchor) {
    const node = words(x, y, MISSING, "val", anchor);
    this.#values.push((_, { values }) => text(node, typeof values[key] === "number" ? `${number(values[key])} ${unit}` : MISSING));
    return node;
  }

  #exchanger() {
    return [
      svg("rect", { class: "kit", x: 262, y: 150, width: 76, height: 112, rx: 4 }),
      svg("path", { class: "thin", d: "M262 262 338 150M262 206 300 150M300 262 338 206" }),
      words(244, 186, "approach", "lab", "end"),
      this.#worked(244, 204, "approach_k", "K", "end"),
      words(244, 226, "UA", "lab", "end"),
      this.#worked(244, 244, "ua_kw_per_k", "kW/K", "end"),
    ];
  }

  // Pumps stand side by side between the exchanger and the header.
  #pumps({ pumps }) {
    if (!pumps.length) return [line("cold", "M338 167H680"), words(548, 150, "no pump speed")];
    const top = pumps.length > 1 ? 110 : 167;
    const pitch = pumps.length > 1 ? 120 / (pumps.length - 1) : 0;
    const size = pumps.length > 2 ? 15 : 20;
    return pumps.flatMap((pump, i) => {
      const y = top + i * pitch;
      const disc = svg("circle", { class: "kit", cx: 580, cy: y, r: size });
      this.#values.push((latest) => {
        const speed = latest.get(pump.id)?.value;
        attr(disc, "class", speed > 0 ? "kit run" : "kit");
      });
      const name = pump.areas.find((area) => /pump/i.test(area)) ?? `Pump ${i + 1}`;
      return [
        line("cold", `M338 167H470V${y}H680V167`),
        disc,
        svg("path", { class: "sign", d: `M${580 - size / 2.4} ${y - size / 2}l${size} ${size / 2}-${size} ${size / 2}z` }),
        words(612, y - 8, name),
        this.#value(612, y + 18, pump, "%", "speed"),
      ];
    });
  }

  #circuit(parts, width) {
    const end = width - 40;
    return [
      line("cold", `M680 167H${end}`),
      line("warm", `M338 244H400V316H${end}`),
      ...(parts.filter
        ? [
            svg("rect", { class: "kit", x: 712, y: 150, width: 34, height: 34 }),
            svg("path", { class: "thin", d: "M712 150l34 34M746 150l-34 34" }),
            words(729, 142, "filter", "lab", "middle"),
            this.#value(729, 202, parts.filter, "kPa", "filter", "middle"),
          ]
        : []),
      words(770, 112, "supply"),
      this.#value(770, 132, parts.supply, "°C", "temperature"),
      this.#value(836, 132, parts.flow, "L/min", "flow"),
      this.#value(940, 132, parts.supply_kpa, "kPa", "pressure"),
      words(770, 344, "return"),
      this.#value(770, 364, parts.back, "°C", "temperature"),
      this.#value(940, 364, parts.back_kpa, "kPa", "pressure"),
    ];
  }

  #reservoir({ level, volume, fill, leak }) {
    if (!level) return [words(404, 60, "no reservoir level")];
    const water = svg("rect", { class: "water", x: 407, y: 40, width: 48, height: 0 });
    const litres = words(398, 84, "", "val", "end");
    this.#values.push((latest) => {
      const share = latest.get(level.id)?.value;
      const full = latest.get(volume?.id)?.value;
      const height = typeof share === "number" ? (0.81 * Math.max(0, Math.min(100, share))).toFixed(1) : 0;
      attr(water, "height", height);
      attr(water, "y", 122 - height);
      text(litres, typeof share === "number" && typeof full === "number" ? `${number((share / 100) * full)} L` : "");
    });
    return [
      svg("rect", { class: "kit", x: 404, y: 40, width: 54, height: 84, rx: 4 }),
      water,
      line("cold narrow", "M431 124V166"),
      words(431, 32, "reservoir", "lab", "middle"),
      this.#value(398, 64, level, "%", "level", "end"),
      litres,
      ...(fill ? [words(470, 52, "make-up"), this.#value(470, 70, fill, "", "make-up")] : []),
      ...(leak ? [words(560, 52, "leak sensor"), this.#value(560, 70, leak, "", "leak sensor")] : []),
    ];
  }

  #rack(rack, x, width, i) {
    const middle = x + width / 2;
    const box = svg("rect", { class: "kit", x, y: 206, width, height: 56, rx: 2 });
    const sign = svg("g", { class: "sign-at", transform: `translate(${middle} 206)` });
    const name = svg("title");
    const place = rack.position ? String(rack.position).padStart(2, "0") : String(i + 1);
    const label = width >= 24 ? `${rack.row ?? ""}${place}` : place;
    const link = svg("a", { href: address("rack", `${rack.site}/${rack.id}`) }, name, box, sign);
    this.#racks.set(`${rack.site}/${rack.id}`, { box, sign, name, link });
    return [
      line("cold branch", `M${middle} 170V206`),
      line("warm branch", `M${middle} 262V314`),
      link,
      words(middle, 280, width > 10 || i % 2 === 0 ? label : "", "lab small", "middle"),
    ];
  }

  /** Shows values: readings by point, the CDU and its racks as they are now. */
  show(latest, cdu, racks, store, isStale) {
    for (const tell of this.#values) tell(latest, cdu);
    const flows = racks.map((rack) => rack.values.flow_lpm).filter((v) => typeof v === "number");
    const most = Math.max(...flows, 1);
    for (const rack of racks) {
      const key = `${rack.site}/${rack.id}`;
      const { box, sign, name, link } = this.#racks.get(key) ?? {};
      if (!box) continue;
      const flow = rack.values.flow_lpm;
      const alarm = store.worst.get(key) ?? null;
      attr(box, "data-q", typeof flow === "number" ? Math.min(STEPS - 1, Math.floor((flow / most) * STEPS)) : null);
      attr(box, "data-p", alarm?.priority ?? null);
      const said = `${rack.name}: ${number(flow)} L/min, ${number(rack.values.power_kw)} kW${isStale(rack) ? ", stale" : ""}${alarm ? `, ${alarm.title}` : ""}`;
      text(name, said);
      attr(link, "aria-label", said);
      attr(box, "class", isStale(rack) ? "kit old" : "kit");
      if (sign.dataset.p === String(alarm?.priority ?? "")) continue;
      sign.dataset.p = String(alarm?.priority ?? "");
      sign.replaceChildren(...(alarm ? shape(alarm.priority, unacknowledged(alarm)) : []));
    }
  }
}

// The mark of a priority, as the lists have it, drawn.
function shape(priority, fresh) {
  const d = ["M-11-11h22v22h-22z", "M0-12 12 11h-24z", "M-12-11h24L0 12z", "M0-13 13 0 0 13-13 0z"][priority - 1];
  const y = { 2: 8, 3: 0 }[priority] ?? 4;
  const blink = fresh ? "mark unack" : "mark";
  return [svg("g", { class: blink, "data-p": priority }, svg("path", { d }), svg("text", { x: 0, y, "text-anchor": "middle" }, String(priority)))];
}
