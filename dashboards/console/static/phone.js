// One alarm for somebody on their way to it: where to go in the largest type, what shows it, one button for the thumb,
// the steps to tick off. It asks every few seconds instead of keeping a stream open, and always says how old it is.
// Lives here: the page behind the link of a message. Not here: the console, which opens from here.

import { Acknowledging } from "./acknowledge.js";
import * as acts from "./acts.js";
import * as api from "./api.js";
import { steps } from "./checklist.js";
import * as clock from "./clock.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { MISSING, TimeSince, stamp, wholeAge } from "./format.js";
import { timeToLimit } from "./names.js";
import { address, parse } from "./route.js";
import { SIGN, SPOKEN, log, told } from "./story.js";
import { Store, putAside, returned, stateWords, unacknowledged } from "./store.js";
import { Trend } from "./trend.js";

const EVERY_MS = 5_000;
const LATE_S = 12; // two questions without an answer: what is shown is said to be old
const TREND_EVERY_MS = 30_000; // a picture costs more than the rest of the page
const WET = new Set(["leak_suspected", "leak_wet"]);

export class Phone {
  #id;
  #store = new Store();
  #asked = -Infinity;
  #heard = null;
  #problem = null;
  #alarm = null;
  #over = false;

  constructor(id, root) {
    this.#id = id;
    this.acknowledging = new Acknowledging(this.#store);
    this.acknowledging.addEventListener("change", () => this.#show());
    this.#store.addEventListener("alarms", () => this.#take());
    this.trend = new Trend(this.#store, TREND_EVERY_MS);
    this.late = el("p.lost.here", { role: "alert", hidden: true });
    this.mark = mark(4);
    this.mark.classList.add("large");
    this.title = el("h1");
    this.since = el("time-since");
    this.state = el("span");
    this.place = el("div.goto");
    this.where = el("div");
    this.limit = el("b");
    this.sure = el("span");
    this.doubt = el("p.sub");
    this.evidence = el("dl.ev");
    this.proof = el("section.card", { "aria-label": "Evidence" }, this.trend.root, this.evidence);
    this.button = el("button.main", { type: "button", click: () => this.acknowledging.acknowledge(this.#alarm) });
    this.who = el("p.card", { role: "status" });
    this.thumb = el("div.thumb", {}, this.button);
    this.checks = el("ol.check");
    this.first = el("section", {}, el("h2", {}, "Check first"), this.checks);
    this.actions = el("ol.check");
    this.then = el("section", {}, el("h2", {}, "Then"), this.actions);
    this.why = el("div");
    this.log = el("ul.log");
    this.more = el("details", {}, el("summary", {}, "Why it matters, and its history"), this.why, this.log);
    this.acts = el(
      "div.two",
      {},
      el("button", { type: "button", click: () => acts.comment(this.acknowledging, [this.#alarm]) }, "Comment…"),
      el("button", { type: "button", click: () => acts.assign(this.acknowledging, [this.#alarm]) }, "Hand over…"),
    );
    this.full = el("a.button", { href: address("alarms", id, { full: "1" }).replace("#", "/#") }, "Open the console");
    this.age = el("b.n");
    this.safety = el("span");
    this.body = el(
      "div.parts",
      { hidden: true },
      el("header", {}, this.mark, el("div", {}, this.title, el("div.sub", {}, this.since, this.state))),
      el("section.card", {}, el("div.sub", {}, "Go to"), this.place, this.where, el("p.sub", {}, this.limit, this.sure), this.doubt),
      this.proof,
      this.who,
      this.thumb,
      this.first,
      this.then,
      this.acts,
      this.more,
    );
    this.blank = el("p.card", { role: "status" }, "Asking for this alarm.");
    root.append(this.late, this.blank, this.body, this.full, el("p.sub", {}, "Updated ", this.age, ". ", this.safety));
    this.#show();
  }

  /** Once a second, and whenever the page is looked at again. */
  beat() {
    TimeSince.tick();
    const now = performance.now();
    if (!document.hidden && !this.#over && now - this.#asked >= EVERY_MS) this.#ask();
    if (!this.body.hidden) this.trend.beat();
    this.#old();
  }

  // The wall clock is asked too: the other one stands still while a phone sleeps.
  #age() {
    if (this.#heard === null) return null;
    return Math.max(performance.now() - this.#heard.mono, Date.now() - this.#heard.wall, 0) / 1000;
  }

  #old() {
    const age = this.#age();
    text(this.age, age === null ? MISSING : `${wholeAge(age)} ago`);
    const late = this.#alarm !== null && !this.#over && (this.#problem !== null || age > LATE_S);
    this.late.hidden = !late;
    if (late) text(this.late, `What stands here is ${wholeAge(age)} old. ${this.#problem?.message ?? ""} Trying again.`);
  }

  async #ask() {
    this.#asked = performance.now();
    const path = `/alarms/${encodeURIComponent(this.#id)}`;
    try {
      const alarm = await api.get(path);
      this.#answered();
      this.#store.takeAlarm(alarm);
    } catch (problem) {
      this.#problem = problem;
      if (problem.status === 404) await this.#end(path);
    }
    this.#show();
  }

  #answered() {
    this.#problem = null;
    this.#heard = { mono: performance.now(), wall: Date.now() };
    clock.hear(api.answered, true);
  }

  // It does not stand: the journal tells whether it ever did, and how it ended.
  async #end(path) {
    try {
      const history = await api.get(`${path}/history`);
      this.#answered();
      this.#over = true;
      this.#alarm = this.#alarm && { ...this.#alarm, state: "normal", history };
      const last = history.at(-1);
      text(this.blank, `This alarm is over since ${stamp(last.at)}: ${told(last)}. There is nothing left to do here.`);
    } catch (problem) {
      if (problem.status !== 404) return;
      this.#answered();
      this.#over = true;
      text(this.blank, `There is no alarm ${this.#id}: the link was cut, or it is of another service. The console shows what stands.`);
    }
  }

  #take() {
    const alarm = this.#store.alarms.get(this.#id) ?? this.#store.over.get(this.#id);
    if (!alarm) return;
    this.#alarm = { ...alarm, history: alarm.history ?? this.#alarm?.history ?? [] };
    this.#show();
  }

  #show() {
    const alarm = this.#alarm;
    this.body.hidden = !alarm;
    this.blank.hidden = Boolean(alarm) && !this.#over;
    if (!alarm) {
      if (this.#problem && !this.#over)
        text(this.blank, `This alarm could not be fetched. ${this.#problem.message} Trying again every 5 s.`);
      document.title = "Alarm";
      text(this.safety, safety(null));
      return this.#old();
    }
    const fresh = unacknowledged(alarm) && !this.#over;
    setMark(this.mark, alarm.priority, fresh);
    text(this.title, alarm.title);
    document.title = `(${alarm.priority}) ${alarm.title}`;
    attr(this.since, "before", returned(alarm) ? "back " : "standing ");
    attr(this.since, "at", returned(alarm) ? alarm.returned_at : alarm.since);
    text(this.state, ` · ${alarm.priority_word}, ${stateWords(alarm)}`);
    text(this.place, alarm.asset_name || alarm.asset);
    text(this.where, [alarm.site, alarm.where].filter(Boolean).join(" · "));
    text(this.limit, returned(alarm) || this.#over ? "" : timeToLimit(alarm));
    const sure = typeof alarm.confidence === "number" ? `confidence ${Math.min(0.99, alarm.confidence).toFixed(2)}` : "";
    text(this.sure, [this.limit.textContent && sure ? " · " : "", sure].join(""));
    text(this.doubt, alarm.cannot_tell ? `? Cannot tell any more: ${alarm.cannot_tell}` : "");
    this.doubt.hidden = !alarm.cannot_tell;
    this.#argue(alarm);
    this.thumb.hidden = !fresh;
    const busy = this.acknowledging.busy(alarm.id);
    this.button.disabled = busy;
    text(this.button, busy ? "Acknowledging" : "Acknowledge: I am on it");
    text(this.who, whose(alarm));
    this.who.hidden = fresh || !this.who.textContent;
    this.acts.hidden = this.#over;
    const checks = alarm.check_first ?? [];
    const then = (alarm.rationale?.action ?? []).filter((line) => !checks.includes(line));
    steps(this.checks, alarm.id, checks);
    steps(this.actions, alarm.id, then);
    this.first.hidden = !checks.length;
    this.then.hidden = !then.length;
    this.#explain(alarm);
    text(this.safety, safety(alarm));
    this.#old();
  }

  #argue(alarm) {
    const evidence = alarm.evidence ?? [];
    this.proof.hidden = !evidence.length;
    const point = evidence.find((line) => line.point != null)?.point ?? null;
    this.trend.show(point, alarm.since, returned(alarm) ? alarm.returned_at : null, alarm.priority);
    keyed(
      this.evidence,
      evidence.map((line, i) => ({ ...line, i })),
      (line) => line.i,
      () => el("div", {}, el("dt", {}, el("span", { "aria-hidden": "true" }), el("span.unseen")), el("dd"), el("dd.n")),
      (node, line) => {
        text(node.children[0].firstChild, SIGN[line.bearing] ?? "?");
        text(node.children[0].lastChild, SPOKEN[line.bearing] ?? line.bearing);
        text(node.children[1], line.what);
        text(node.children[2], line.shows);
      },
    );
  }

  #explain(alarm) {
    const { cause, consequence, respond_within_min: minutes } = alarm.rationale ?? {};
    const why = [cause, consequence, minutes && `Respond within ${minutes} min.`].filter(Boolean);
    keyed(
      this.why,
      why,
      (line) => line,
      (line) => el("p", {}, line),
    );
    const history = alarm.history ?? [];
    log(this.log, history);
    this.more.hidden = !why.length && !history.length;
  }
}

function whose(alarm) {
  const by = alarm.acknowledged_by && `Acknowledged by ${alarm.acknowledged_by} at ${stamp(alarm.acknowledged_at)}.`;
  const { by: person, reason, until } = alarm.aside ?? {};
  const aside = putAside(alarm) && person && `Put aside by ${person}${until ? ` until ${stamp(until)}` : ""}: ${reason}.`;
  return [aside, by, alarm.assigned && `It is ${alarm.assigned}’s.`].filter(Boolean).join(" ");
}

// The last line of the page. What watches switches nothing, so nobody may take a quiet page for a dead rack.
function safety(alarm) {
  if (alarm && WET.has(alarm.kind))
    return `Feeds of ${alarm.asset_name || alarm.asset} stay live: treat wet parts as energised.`;
  return "Nothing is switched off from here: treat parts as energised until you have isolated them.";
}

const { id } = parse(location.hash);
const root = document.getElementById("main");
if (id) {
  const page = new Phone(id, root);
  page.beat();
  setInterval(() => page.beat(), 1000);
  document.addEventListener("visibilitychange", () => page.beat());
  window.addEventListener("hashchange", () => location.reload());
} else root.append(el("p.card", {}, "This link names no alarm. "), el("a.button", { href: "/#/alarms" }, "Open the console"));
