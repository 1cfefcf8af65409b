// The trend of one point: half an hour as a line, with its unit, its y values, its range, and since when an alarm
// stands. Lives here: fetching and drawing. Not here: which point speaks for what (alarm-card.js).

import { get } from "./api.js";
import * as clock from "./clock.js";
import { attr, el, svg, text } from "./dom.js";
import { number, timeOfDay, utc } from "./format.js";
import { plain } from "./names.js";

const MINUTES = 30;
const SPANS = [5, 10, MINUTES]; // minutes: the shortest that holds all there is, so that a young history fills the picture
const EVERY_S = 5;
const REFRESH_MS = 10_000;
const STALE_AFTER_S = 250; // where the service has not said yet
const HEIGHT = 100;
const WIDTH = 400;

/** A figure that shows one point; `show` sets which, `beat` keeps it fresh. */
export class Trend {
  #point = null;
  #since = null;
  #until = null;
  #asked = 0;
  #series = null;
  #range = null;
  #store;
  #refresh;
  #load;

  /** store: knows after how long without a reading a point is stale, and a line must break. refresh: ms between two
   * questions. */
  constructor(store, refresh = REFRESH_MS) {
    this.#store = store;
    this.#refresh = refresh;
    this.name = el("span");
    this.last = el("b.n");
    this.top = el("span.n");
    this.bottom = el("span.n");
    this.from = el("time.n");
    this.to = el("span.n", {}, "now");
    this.hit = svg("rect", { class: "hit", y: 0, height: HEIGHT });
    this.onset = svg("path", { class: "onset" });
    this.lines = svg("g");
    this.cursor = svg("path", { class: "cursor" });
    this.picture = svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      this.hit,
      this.onset,
      this.lines,
      this.cursor,
    );
    this.word = el("p.sub", { hidden: true });
    this.plot = [el("div.ys", {}, this.top, this.bottom), this.picture, el("div.xs", {}, this.from, this.to)];
    this.node = el("figure.trend", { hidden: true }, el("figcaption", {}, this.name, this.last), ...this.plot);
    this.root = el("div", {}, this.node, this.word);
    this.picture.addEventListener("pointermove", (event) => this.#read(event));
    this.picture.addEventListener("pointerleave", () => this.#tell());
  }

  /** Shows another point, or none. since, until: ISO times between which the background is marked; null: until now.
   * load: fetches what is no point, but made of several: a function of {start, end} in ISO to a series of the API. */
  show(point, since = null, until = null, priority = null, load = null) {
    attr(this.node, "data-p", priority);
    this.#since = since;
    this.#until = until;
    if (point === this.#point) return;
    this.#point = point;
    this.#load = load ?? ((range) => this.#readings(point, range));
    this.#series = null;
    this.node.hidden = true;
    this.word.hidden = true;
    if (point !== null) this.#fetch();
  }

  /** Marks the background from another instant on. */
  since(iso, priority) {
    if (iso === this.#since) return;
    this.#since = iso;
    attr(this.node, "data-p", priority);
    if (this.#series && !this.node.hidden) this.#draw(Math.round((this.#range[1] - this.#range[0]) / 60_000));
  }

  /** Asks again when the picture is old enough. */
  beat() {
    if (this.#point !== null && performance.now() - this.#asked > this.#refresh) this.#fetch();
  }

  async #fetch() {
    const point = this.#point;
    this.#asked = performance.now();
    const end = clock.now();
    const start = end - MINUTES * 60_000;
    try {
      const series = await this.#load({ start: new Date(start).toISOString(), end: new Date(end).toISOString() });
      if (point !== this.#point) return;
      this.#series = series && { ...series, name: plain(series.name) };
      const first = Date.parse(this.#series?.times[0] ?? new Date(end).toISOString());
      const span = SPANS.find((minutes) => first >= end - minutes * 60_000) ?? MINUTES;
      this.#range = [end - span * 60_000, end];
      this.#draw(span);
    } catch (problem) {
      if (point !== this.#point) return;
      this.node.hidden = true;
      this.#say(
        problem.status === 404
          ? "This point is not described any more: its sensor or its source was taken away. What it told is still kept."
          : `The trend could not be fetched. ${problem.message}`,
      );
    }
  }

  async #readings(point, range) {
    const query = new URLSearchParams({ point, ...range, every: `${EVERY_S}s`, how: "mean" });
    return (await get(`/readings?${query}`)).series[0] ?? null;
  }

  #say(sentence) {
    text(this.word, sentence);
    this.word.hidden = false;
  }

  #draw(span) {
    const values = (this.#series?.values ?? []).filter((v) => typeof v === "number");
    this.node.hidden = values.length < 2;
    if (values.length < 2) {
      this.#say(`No readings of this point in the last ${MINUTES} min.`);
      return;
    }
    this.word.hidden = true;
    let low = Math.min(...values);
    let high = Math.max(...values);
    // A switch has two places. A flat line stands in the middle: a scale of nothing but noise would look like news.
    const binary = this.#series.unit === "" && values.every((v) => v === 0 || v === 1);
    if (binary) [low, high] = [0, 1];
    const least = Math.max(Math.abs(high) * 0.02, 0.1);
    if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
    const [start, end] = this.#range;
    const x = (ms) => (WIDTH * (ms - start)) / (end - start);
    const y = (v) => HEIGHT - 4 - ((HEIGHT - 8) * (v - low)) / (high - low);
    this.lines.replaceChildren(...strokes(this.#series, x, y, binary, this.#breaks()));
    const inside = (iso) => Math.min(WIDTH, Math.max(0, x(Date.parse(iso))));
    const onset = this.#since ? inside(this.#since) : WIDTH;
    attr(this.hit, "x", onset);
    attr(this.hit, "width", Math.max(0, (this.#until ? inside(this.#until) : WIDTH) - onset));
    attr(this.onset, "d", onset > 0 && onset < WIDTH ? `M${onset} 0V${HEIGHT}` : "");
    text(this.top, number(high, digits(low, high)));
    text(this.bottom, number(low, digits(low, high)));
    text(this.from, `${timeOfDay(start, false)} · last ${span} min`);
    attr(this.from, "datetime", new Date(start).toISOString());
    attr(this.from, "title", utc(start));
    const { name, unit } = this.#series;
    attr(
      this.picture,
      "aria-label",
      `${name}, last ${span} min: from ${number(values[0])} to ${number(values.at(-1))} ${unit}, between ${number(Math.min(...values))} and ${number(Math.max(...values))}`,
    );
    this.#tell();
  }

  // Buckets without a reading are not told of, and a point that only speaks on change is silent for long: only what
  // would be stale is a gap.
  #breaks() {
    return Math.max(2 * EVERY_S, this.#store.staleAfter ?? STALE_AFTER_S) * 1000;
  }

  #tell() {
    attr(this.cursor, "d", "");
    if (!this.#series) return;
    const { name, unit, values } = this.#series;
    text(this.name, unit ? `${name}, ${unit}` : name);
    const last = values.findLast((v) => typeof v === "number");
    text(this.last, `${number(last)} ${unit}`);
  }

  // The value under the pointer, in place of the last one.
  #read(event) {
    if (!this.#series) return;
    const box = this.picture.getBoundingClientRect();
    const [start, end] = this.#range;
    const at = start + ((end - start) * (event.clientX - box.left)) / box.width;
    const times = this.#series.times.map(Date.parse);
    let nearest = 0;
    for (let i = 1; i < times.length; i += 1) if (Math.abs(times[i] - at) < Math.abs(times[nearest] - at)) nearest = i;
    text(this.last, `${timeOfDay(times[nearest])}  ${number(this.#series.values[nearest])} ${this.#series.unit}`);
    const place = (WIDTH * (times[nearest] - start)) / (end - start);
    attr(this.cursor, "d", `M${place} 0V${HEIGHT}`);
  }
}

// As many digits as tell the ends of the scale apart.
function digits(low, high) {
  return Math.max(0, Math.min(3, Math.ceil(1 - Math.log10(high - low))));
}

// The line, broken where readings are missing and dashed where they are doubtful: a gap is never bridged. A switch goes
// in steps. breaks: ms without a reading after which there is a gap.
function strokes({ times, values, qualities }, x, y, steps, breaks) {
  const drawn = [];
  let run = "";
  let doubt = false;
  let before = -Infinity;
  let height = 0;
  const close = () => {
    if (run) drawn.push(svg("path", { class: doubt && "doubt", d: run }));
    run = "";
  };
  times.forEach((time, i) => {
    if (typeof values[i] !== "number") return close();
    const at = Date.parse(time);
    if (at - before > breaks) close();
    const [left, top] = [x(at).toFixed(1), y(values[i]).toFixed(1)];
    const doubtful = (qualities?.[i] ?? 0) !== 0;
    if (run && doubtful !== doubt) {
      close();
      run = `M${x(before).toFixed(1)} ${height}`;
    }
    doubt = doubtful;
    // the first of a run is a dot of its own, should nothing follow
    if (!run) run = `M${left} ${top}h1M${left} ${top}`;
    else run += steps ? `H${left}V${top}` : `L${left} ${top}`;
    [before, height] = [at, top];
  });
  close();
  return drawn;
}
