// The frame around every page: hall chooser, power against rating, tally, age of the stream, clock, pages, banner, title.
// Lives here: the bar, the banner and the tab's title. Not here: what the pages show.

import { askOperator, operator } from "./acknowledge.js";
import * as clock from "./clock.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { MISSING, age, many, number, timeOfDay, utc, wholeAge } from "./format.js";
import { unacknowledged } from "./store.js";

const PRIORITIES = [
  [1, "critical"],
  [2, "high"],
  [3, "medium"],
  [4, "low"],
];
const PAGES = [
  ["overview", "Overview"],
  ["hall", "Hall map"],
  ["loop", "Loops"],
  ["power", "Power path"],
  ["gpus", "GPUs"],
  ["alarms", "Alarms"],
  ["kpis", "Alarm KPIs"],
  ["capacity", "Capacity"],
  ["efficiency", "Efficiency"],
  ["quality", "Data quality"],
];
const WITHIN = { rack: "hall" };
const THEMES = { auto: ["◐", "Theme: as the system has it"], light: ["☀", "Theme: light"], dark: ["☾", "Theme: dark"] };
const OWN_CLOCK_OFF_S = 60;
const byId = (id) => document.getElementById(id);

export class Frame {
  #store;
  #link;
  #route;

  constructor(store, link, route) {
    this.#store = store;
    this.#link = link;
    this.#route = route;
    this.tally = PRIORITIES.map(([priority]) => ({ mark: mark(priority), count: el("b.n") }));
    this.masked = el("span.mut");
    byId("tally").append(...this.tally.map((t) => el("span", {}, t.mark, t.count)), this.masked);
    this.links = PAGES.map(([page, name]) =>
      el("a", { href: `#/${page === "hall" ? "" : page}` }, el("span", {}, name), el("b")),
    );
    byId("nav").append(...this.links);
    byId("operator").addEventListener("click", async () => {
      await askOperator();
      this.operator();
    });
    byId("theme").addEventListener("click", () => this.theme(window.dcimTheme.next()));
    byId("place").addEventListener("change", (event) => route.set({ hall: event.target.value, at: null }));
    this.theme(window.dcimTheme.chosen());
    this.operator();
  }

  theme(theme) {
    const [sign, words] = THEMES[theme];
    text(byId("theme"), sign);
    attr(byId("theme"), "title", words);
    attr(byId("theme"), "aria-label", words);
  }

  operator() {
    text(byId("operator"), operator() || "Your name");
    attr(
      byId("operator"),
      "title",
      operator() ? "The name that stands under what you acknowledge. Press to change it." : "Say who is at this screen",
    );
  }

  /** The page in the nav and the halls in the chooser. */
  place(halls, hall) {
    const page = WITHIN[this.#route.page] ?? this.#route.page;
    this.links.forEach((node, i) => {
      const here = PAGES[i][0] === page;
      const come = here && !node.hasAttribute("aria-current");
      attr(node, "aria-current", here && "page");
      // On a narrow screen the pages stand in one line, and the one that is shown may be out of sight.
      if (come) byId("nav").scrollLeft = node.offsetLeft - (byId("nav").clientWidth - node.offsetWidth) / 2;
      if (PAGES[i][0] === "hall") attr(node, "href", this.#route.lastHall);
    });
    const chooser = byId("place");
    chooser.hidden = this.#route.page !== "hall" || !halls.length;
    keyed(
      chooser,
      halls,
      (h) => `${h.site}/${h.hall}`,
      (h) => el("option", { value: `${h.site}/${h.hall}` }, `${h.site} · ${h.hall || "not placed"}`),
    );
    if (hall) chooser.value = `${hall.site}/${hall.hall}`;
  }

  /** Power of the racks that are shown, against their rating; what is missing or stale is said, not counted as 0. */
  power(racks, isStale) {
    let sum = 0;
    let rated = 0;
    let left = 0;
    for (const rack of racks) {
      rated += rack.rated_power_kw ?? 0;
      if (typeof rack.values.power_kw !== "number" || isStale(rack)) left += 1;
      else sum += rack.values.power_kw;
    }
    const kw = (v) => (v >= 1000 ? `${number(v / 1000, v < 10_000 ? 2 : 1)} MW` : `${number(v, 0)} kW`);
    const parts =
      racks.length === left
        ? ""
        : [kw(sum), rated && `of ${kw(rated)} rated`, left && `· without ${many(left, "rack")}`]
            .filter(Boolean)
            .join(" ");
    text(byId("power"), parts);
  }

  alarms() {
    const { standing, masked } = this.#store;
    const spoken = [];
    PRIORITIES.forEach(([priority, word], i) => {
      const these = standing.filter((alarm) => alarm.priority === priority);
      const fresh = these.filter(unacknowledged).length;
      setMark(this.tally[i].mark, priority, fresh > 0);
      this.tally[i].mark.classList.toggle("none", !these.length);
      attr(this.tally[i].mark.parentElement, "class", these.length ? null : "none");
      attr(
        this.tally[i].mark.parentElement,
        "title",
        `${many(these.length, `${word} alarm`)}, ${fresh} unacknowledged`,
      );
      text(this.tally[i].count, String(these.length));
      if (these.length) spoken.push(`${these.length} ${word}${fresh ? `, ${fresh} unacknowledged` : ""}`);
    });
    text(this.masked, masked ? `${number(masked, 0)} masked` : "");
    const known = this.#store.alarmsKnown;
    text(
      byId("tally-words"),
      !known ? "" : spoken.length ? `Standing alarms: ${spoken.join("; ")}` : "No alarm stands",
    );
    text(this.links[PAGES.findIndex(([page]) => page === "alarms")].children[1], known && standing.length ? String(standing.length) : "");
  }

  /** Tab title: the most urgent mark and how many stand, then where one is. */
  title(place) {
    const { standing } = this.#store;
    const alarms = standing.length ? `(${standing[0].priority}) ${many(standing.length, "alarm")} · ` : "";
    const lost = this.#link.state === "lost" ? "? stream lost · " : "";
    const title = `${lost}${alarms}${place || "dcim"}`;
    if (document.title !== title) document.title = title;
  }

  /** Once a second: clock, age, banner. */
  beat() {
    const now = clock.now();
    text(byId("clock"), clock.known() ? timeOfDay(now) : MISSING);
    attr(byId("clock"), "datetime", clock.known() && new Date(now).toISOString());
    attr(byId("clock"), "title", clock.known() && utc(now));
    const { state } = this.#link;
    const silence = this.#link.silence();
    const live = byId("live");
    if (state === "live") {
      if (live.firstElementChild) text(live.firstElementChild, age(silence));
      else live.replaceChildren("live ", el("b.n", {}, age(silence)));
      attr(live, "title", "Age of the last pulse of the event stream");
      this.#ownClock(now);
    } else text(live, state === "lost" ? "stream lost" : "connecting");
    byId("lost").hidden = state !== "lost";
    byId("app").classList.toggle("untrusted", state === "lost" && !this.#link.trusted());
    if (state !== "lost") return;
    const newest = this.#link.newest();
    const polled = newest !== null && newest < silence - 1;
    text(byId("lost-words"), this.#words(polled));
    text(
      byId("lost-age"),
      polled
        ? `Last answer ${wholeAge(newest)} ago; no stream for ${wholeAge(silence)}.`
        : `Numbers are ${wholeAge(newest ?? silence)} old.`,
    );
  }

  // Ages are never taken from this computer's clock, but people compare with it.
  #ownClock(now) {
    const off = (Date.now() - now) / 1000;
    const wrong = clock.known() && Math.abs(off) > OWN_CLOCK_OFF_S;
    byId("own-clock").hidden = !wrong;
    if (wrong)
      text(
        byId("own-clock"),
        `This computer’s clock is ${wholeAge(Math.abs(off))} ${off > 0 ? "fast" : "slow"}; the times here are the service’s.`,
      );
  }

  #words(polled) {
    if (polled) return "The event stream is lost. The service is asked every 5 s instead.";
    const why = this.#link.problem ? ` ${this.#link.problem.message}` : "";
    return `The event stream is lost: nothing here is live.${why} Trying again.`;
  }
}
