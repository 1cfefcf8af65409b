// Readings of some points over a range, to zoom into and to read off: the large trend. Lives here: fetching, the chart
// library, the look of it. Not here: which points (rack.js, trend-page.js), the small trend of evidence (trend.js).
//
// The library comes out of the service's installed package, and only when a chart is first shown. The pages' policy takes
// no inline style from anybody, and none is let in for it: see `library`.

import { get } from "./api.js";
import { save } from "./csv.js";
import { el, text } from "./dom.js";
import { many, number, utc } from "./format.js";
import { plain } from "./names.js";
import { Range, fix, local, rangeOf, words } from "./range.js";

const LIBRARY = "/console/lib/plotly.js";
const POINTS_MAX = 2000; // twice what the pixels show
const REFRESH_MS = 15_000;
const UNITS_MAX = 3; // axes that can still be read
const HEIGHT = 320;
const SLACK = 1.5; // of the usual distance between readings, beyond which the line breaks

let loading = null;

// It brings style sheets as text and sets style attributes; the policy refuses both. The sheets are not needed (the few
// rules are in console.css), and a style set through the object model is allowed.
async function library() {
  if (window.Plotly) return window.Plotly;
  loading ??= fetched().finally(() => (loading = null));
  return loading;
}

async function fetched() {
  // With this mark in the document it does not try its own rules.
  document.head.append(el("meta", { id: "plotly.js-style-global", class: "no-inline-styles" }));
  const create = document.createElement;
  document.createElement = function (tag, ...more) {
    return create.call(this, String(tag).toLowerCase() === "style" ? "template" : tag, ...more);
  };
  const set = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else set.call(this, name, value);
  };
  try {
    await import(LIBRARY);
  } catch {
    Element.prototype.setAttribute = set;
    throw new Error("The chart library could not be fetched. The figures are there all the same: save them as CSV.");
  } finally {
    document.createElement = create;
  }
  return window.Plotly;
}

export class Chart {
  #store;
  #route;
  #points = [];
  #asked = -Infinity;
  #series = [];
  #answer = null;
  #key = "";
  #drawn = false;

  /** name: of the saved file. */
  constructor(store, route, name) {
    this.#store = store;
    this.#route = route;
    this.range = new Range(route);
    this.save = el("button", { type: "button", disabled: true, click: () => this.#save(name) }, "CSV");
    this.word = el("p.sub", { role: "status" });
    this.told = el("p.sub");
    this.plot = el("div.plot", { role: "img", hidden: true });
    this.root = el("section.card.drawer", {}, el("div.row.spread", {}, this.range.root, this.save), this.word, this.plot, this.told);
    // While other readings are on their way there is nothing to draw anew.
    const redraw = () => this.#drawn && this.#series.length && this.#draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    new ResizeObserver(redraw).observe(this.root);
  }

  /** Shows these points, by number, over the range in the address. */
  show(points) {
    this.#points = points;
    this.range.update();
    const { start, end, span, wrong } = rangeOf(this.#route.query);
    const key = [points.join(), span ?? [start, end]].join();
    if (wrong) text(this.word, wrong);
    if (key === this.#key) return;
    this.#key = key;
    this.#series = [];
    this.save.disabled = true;
    this.plot.hidden = true;
    text(this.told, "");
    text(this.word, wrong || (points.length ? "Asking for the readings." : "No point is chosen."));
    if (points.length) this.#fetch();
  }

  /** Asks again while the range goes on; once a second. */
  beat() {
    const { span } = rangeOf(this.#route.query);
    if (this.#points.length && span && performance.now() - this.#asked > REFRESH_MS && !document.hidden) this.#fetch();
  }

  async #fetch() {
    const key = this.#key;
    this.#asked = performance.now();
    const range = rangeOf(this.#route.query);
    const query = new URLSearchParams({
      start: new Date(range.start).toISOString(),
      end: new Date(range.end).toISOString(),
      points_max: POINTS_MAX,
    });
    for (const point of this.#points) query.append("point", point);
    try {
      const answer = await get(`/readings?${query}`);
      if (key !== this.#key) return;
      this.#answer = answer;
      this.#series = answer.series.filter((one) => one.values.some((v) => typeof v === "number"));
      this.save.disabled = !this.#series.length;
      if (!this.#series.length) {
        this.plot.hidden = true;
        this.#drawn = false;
        const kept = answer.kept_since ? ` Readings are kept since ${utc(answer.kept_since)}.` : "";
        return text(this.word, `There are no readings from ${words(range)}.${kept} Choose another range.`);
      }
      text(this.word, range.wrong);
      await this.#draw();
    } catch (problem) {
      if (key !== this.#key) return;
      text(
        this.word,
        problem.status === 404
          ? "A point of this link is not known here: its sensor or its source was taken away, or the link is of another service."
          : `${this.#drawn ? "What is drawn is old. " : ""}${problem.message}`,
      );
    }
  }

  async #draw() {
    const plotly = await library();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => resolved(style, name);
    const units = [...new Set(this.#series.map((one) => one.unit))].slice(0, UNITS_MAX);
    const [ink, second, line] = [colour("--ink"), colour("--ink-3"), colour("--line")];
    const lines = this.#series.map((one, i) => ({
      ...strokes(one, this.#breaks(one)),
      type: "scatter",
      mode: "lines",
      name: escaped(nameOf(one)),
      yaxis: ["y", "y2", "y3"][Math.max(0, units.indexOf(one.unit))],
      line: {
        color: i % 2 ? second : ink,
        width: 1.6,
        dash: ["solid", "solid", "dash", "dash", "dot", "dot"][i % 6],
        shape: one.unit === "" ? "hv" : "linear",
      },
      hovertemplate: `%{y:.4~g} ${escaped(one.unit)}<extra>${escaped(nameOf(one))} · %{customdata}</extra>`,
    }));
    const axis = (i) => ({
      title: { text: escaped(units[i] ?? ""), standoff: 8 },
      gridcolor: line,
      zerolinecolor: line,
      fixedrange: true,
      ...(i && { overlaying: "y", side: i === 1 ? "right" : "left", showgrid: false }),
      ...(i === 2 && { anchor: "free", position: 0 }),
    });
    const { start, end } = this.#answer;
    const layout = {
      width: Math.max(240, this.root.clientWidth - 30),
      height: HEIGHT,
      margin: { l: 56, r: units.length > 1 ? 56 : 12, t: 8, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: colour("--raised"),
      font: { family: style.getPropertyValue("--font"), size: 12, color: ink },
      showlegend: this.#series.length > 1,
      legend: { orientation: "h", y: 1.12 },
      hovermode: "x unified",
      hoverlabel: { bgcolor: colour("--raised"), bordercolor: line, font: { color: ink } },
      dragmode: "zoom",
      xaxis: {
        type: "date",
        range: [local(Date.parse(start)), local(Date.parse(end))],
        gridcolor: line,
        linecolor: line,
      },
      ...Object.fromEntries(units.map((_, i) => [["yaxis", "yaxis2", "yaxis3"][i], axis(i)])),
    };
    this.plot.hidden = false;
    await plotly.react(this.plot, lines, layout, { displayModeBar: false, showTips: false, doubleClick: false });
    if (!this.#drawn) this.plot.on("plotly_relayout", (change) => this.#zoom(change));
    this.#drawn = true;
    this.#tell(start, end);
  }

  // What was drawn over with the mouse becomes the range, and is fetched as finely as it can be drawn.
  #zoom(change) {
    const [start, end] = [Date.parse(change["xaxis.range[0]"]), Date.parse(change["xaxis.range[1]"])];
    if (Number.isFinite(start) && Number.isFinite(end) && end - start >= 1000) fix(this.#route, start, end);
  }

  #breaks({ times }) {
    const told = (this.#answer.every_s ?? 0) * 1000;
    const gaps = times.slice(1).map((time, i) => Date.parse(time) - Date.parse(times[i]));
    const usual = gaps.sort((a, b) => a - b)[gaps.length >> 1] ?? 0;
    return Math.max(SLACK * told, 4 * usual, (this.#store.staleAfter ?? 0) * 1000);
  }

  #tell(start, end) {
    const range = { start: Date.parse(start), end: Date.parse(end) };
    const { how, every_s } = this.#answer;
    const made = every_s === null ? "readings" : how === "minmax" ? `lowest and highest of every ${every_s} s` : `means of ${every_s} s`;
    text(this.told, `${words(range)} · ${made} · drag to zoom; a gap is a gap`);
    this.plot.setAttribute(
      "aria-label",
      this.#series
        .map((one) => {
          const values = one.values.filter((v) => typeof v === "number");
          return `${nameOf(one)}: ${many(values.length, "reading")} from ${words(range)}, between ${number(Math.min(...values))} and ${number(Math.max(...values))} ${one.unit}, last ${number(values.at(-1))}`;
        })
        .join("; "),
    );
  }

  #save(name) {
    save(
      name,
      ["time_utc", "site", "asset", "point", "name", "unit", "value", "quality"],
      this.#series.flatMap((one) =>
        one.times.map((time, i) => [
          time, one.site, one.asset, one.point, nameOf(one), one.unit, one.values[i],
          ["good", "uncertain", "bad"][one.qualities[i]],
        ]),
      ),
    );
  }
}

const nameOf = (one) => `${one.asset} · ${plain(one.name || one.quantity)}`;

// The library reads a few tags in names.
const escaped = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("%{", "% {");

// The times as the viewer's, with UTC beside them; nothing where nothing was measured.
function strokes({ times, values }, breaks) {
  const [x, y, customdata] = [[], [], []];
  let before = NaN;
  times.forEach((time, i) => {
    const at = Date.parse(time);
    if (at - before > breaks) {
      x.push(local(before + 1));
      y.push(null);
      customdata.push("");
    }
    x.push(local(at) + new Date(at).toISOString().slice(19, 23));
    y.push(values[i]);
    customdata.push(utc(time));
    before = at;
  });
  return { x, y, customdata, connectgaps: false };
}

// A token as the colour that it is now: the library knows no light-dark().
function resolved(style, name) {
  const probe = el("i", { hidden: true });
  probe.style.color = style.getPropertyValue(name);
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
