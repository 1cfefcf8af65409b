// How numbers, times and ages are written. Missing is an em dash, never 0. Lives here: pure functions, and the one
// element that goes on telling an age. Not here: where the figures come from.

import { now } from "./clock.js";
import { el } from "./dom.js";

export const MISSING = "—";

// What a key's ending says of its unit, for values that the service does not list among its quantities.
const UNITS = { c: "°C", lpm: "L/min", kpa: "kPa", pct: "%", kw: "kW", k: "K", ua_kw_per_k: "kW/K" };
// Whole numbers where the sensor tells no more.
const WHOLE = new Set(["gpu_c"]);

// Making one costs more than a thousand uses of it.
const writers = new Map();
function writer(places) {
  if (!writers.has(places)) {
    writers.set(places, new Intl.NumberFormat("en", { minimumFractionDigits: places, maximumFractionDigits: places }));
  }
  return writers.get(places);
}

/** A number as people of this plant write it: "81.2", "1,204", "−0.9", "—". */
export function number(value, digits = null) {
  if (typeof value !== "number" || !Number.isFinite(value)) return MISSING;
  const places = digits ?? (Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 1);
  const written = writer(places).format(value);
  return /^-[0.,]*$/.test(written) ? written.slice(1) : written.replace("-", "−");
}

/** A value of a quantity, without its unit, with the digits that it deserves. */
export function value(key, unit, v) {
  if (typeof v !== "number") return MISSING;
  return number(v, WHOLE.has(key) || unit === "%" || Math.abs(v) >= 100 ? 0 : 1);
}

/** The unit of a key that no quantity explains: "valve_pct" → "%". */
export function unitOf(key) {
  return UNITS[key] ?? UNITS[key.slice(key.lastIndexOf("_") + 1)] ?? "";
}

/** Seconds as an age in few letters: "0.3 s", "12 s", "3 min", "2 h", "3 d". */
export function age(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return MISSING;
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** The same without tenths, for what stands for a while. */
export function wholeAge(seconds) {
  return seconds < 9.95 ? `${Math.floor(seconds)} s` : age(seconds);
}

/** A share that never says 100 % while anything is missing. */
export function share(part, whole) {
  if (!whole) return MISSING;
  return part === whole ? "100\u00a0%" : `${Math.floor((1000 * part) / whole) / 10}\u00a0%`;
}

/** Plural by count: "1 rack", "8 racks". */
export function many(count, one, more = `${one}s`) {
  return `${number(count, 0)} ${count === 1 ? one : more}`;
}

/** Time of day in the viewer's zone. */
export function timeOfDay(ms, seconds = true) {
  return new Date(ms).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    second: seconds ? "2-digit" : undefined,
    hourCycle: "h23",
  });
}

/** Time in the viewer's zone: the time of day, with the date where that is another day. */
export function stamp(iso) {
  const then = new Date(iso);
  if (Number.isNaN(then.getTime())) return MISSING;
  if (then.toDateString() === new Date(now()).toDateString()) return timeOfDay(then);
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${timeOfDay(then, false)}`;
}

/** The same instant in UTC, for hovering. */
export function utc(iso) {
  const then = new Date(iso);
  return Number.isNaN(then.getTime()) ? "" : `${then.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** The viewer's zone, as an offset: "UTC+1". */
export function zone(ms) {
  const minutes = -new Date(ms).getTimezoneOffset();
  const sign = minutes < 0 ? "−" : "+";
  const rest = Math.abs(minutes) % 60;
  return minutes
    ? `UTC${sign}${Math.floor(Math.abs(minutes) / 60)}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`
    : "UTC";
}

/** A `time` element: the viewer's zone, UTC on hover. */
export function time(iso) {
  return el("time.n", { datetime: iso, title: utc(iso) }, stamp(iso));
}

/** How long ago, going on: `<time-since at="…" before="back ">`. It stops when it leaves the document. */
export class TimeSince extends HTMLElement {
  static observedAttributes = ["at", "before"];
  static #running = new Set();

  static tick() {
    for (const node of TimeSince.#running) node.show();
  }

  connectedCallback() {
    TimeSince.#running.add(this);
    this.show();
  }

  disconnectedCallback() {
    TimeSince.#running.delete(this);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.show();
  }

  show() {
    const at = this.getAttribute("at");
    const shown = at
      ? `${this.getAttribute("before") ?? ""}${wholeAge(Math.max(0, (now() - Date.parse(at)) / 1000))}`
      : MISSING;
    if (shown === this.textContent) return;
    this.textContent = shown;
    this.title = at ? `${stamp(at)} · ${utc(at)}` : "";
  }
}
customElements.define("time-since", TimeSince);
