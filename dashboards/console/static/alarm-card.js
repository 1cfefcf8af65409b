// One alarm, told as an argument: what speaks for it, what against, what was ruled out; why it matters; what to check
// first; what has been done. The same card stands below the hall and beside the table.
// Lives here: the card. Not here: lists of alarms.

import * as acts from "./acts.js";
import { get } from "./api.js";
import { steps } from "./checklist.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { many, stamp, utc, zone } from "./format.js";
import { timeToLimit } from "./names.js";
import { setButton } from "./alarm-list.js";
import { address } from "./route.js";
import { SIGN, SPOKEN, log } from "./story.js";
import { putAside, returned, stateWords, unacknowledged } from "./store.js";
import { Trend } from "./trend.js";

const COMMENT_MAX = 500;

export class AlarmCard {
  #store;
  #acknowledging;
  #idle;
  #id = null;
  #point = null;
  #asked = null;
  #failed = "";
  #told = { id: null, grown: "" };

  /** idle: what is said while no alarm is chosen. */
  constructor(store, acknowledging, idle) {
    this.#idle = idle;
    this.#store = store;
    this.#acknowledging = acknowledging;
    this.trend = new Trend(store);
    this.mark = mark(4);
    this.title = el("h2");
    this.place = el("span");
    this.onset = el("time.n");
    this.rest = el("span");
    this.summary = el("p");
    this.limit = el("p.harm");
    this.doubt = el("p");
    this.masks = el("p.sub");
    this.over = el("p", { role: "status" });
    this.evidence = el("dl.ev");
    this.why = el("div.sub");
    this.actions = el("ol.steps");
    this.checks = el("ol.check");
    this.log = el("ul.log");
    this.comment = el("input", {
      "aria-label": "Comment on the acknowledgement",
      placeholder: "comment, if any",
      maxlength: COMMENT_MAX,
    });
    this.button = el("button.main", { type: "button", click: () => this.acknowledge() });
    this.acts = el("div.row.acts", {}, this.button, this.comment);
    const act = (name, does) => el("button", { type: "button", click: () => this.alarm && does(this.alarm) }, name);
    this.remark = act("Comment…", (alarm) => acts.comment(acknowledging, [alarm]));
    this.give = act("Hand over…", (alarm) => acts.assign(acknowledging, [alarm]));
    this.shelve = act("Shelve…", (alarm) => acts.shelve(acknowledging, [alarm]));
    this.takeOut = act("Out of service…", (alarm) => acts.takeOut(acknowledging, [alarm]));
    this.back = act("", (alarm) => acts.bringBack(acknowledging, alarm));
    this.free = act("Reset", (alarm) => acts.reset(acknowledging, alarm));
    this.close = act("Close…", (alarm) => acts.close(acknowledging, alarm));
    this.others = [this.shelve, this.give, this.remark, this.takeOut, this.back, this.free, this.close];
    this.aside = el("div.row.aside", {}, ...this.others);
    this.owner = el("p.sub");
    this.put = el("p");
    this.larger = el("a.inline.sub", {}, "Larger trend");
    const part = (name, ...nodes) => el("section", {}, name ? el("h3", {}, name) : null, ...nodes);
    this.parts = {
      evidence: part("Evidence", this.evidence, this.trend.root, this.larger),
      why: part("Why it matters", this.why),
      checks: part("Check first", this.checks),
      actions: part("Then", this.actions),
      log: part("History", this.log),
    };
    this.body = el(
      "div.drawer",
      {},
      el("div.head", {}, this.mark, this.title),
      el("div.sub", {}, this.place, " · since ", this.onset, this.rest),
      this.summary,
      this.limit,
      this.doubt,
      this.masks,
      this.put,
      this.owner,
      this.over,
      this.parts.evidence,
      this.parts.why,
      this.parts.checks,
      this.parts.actions,
      this.acts,
      this.aside,
      this.parts.log,
    );
    this.blank = el("p.sub");
    this.past = el("ul.past", { hidden: true });
    this.root = el("div.drawer", {}, this.blank, this.past, this.body);
    this.body.hidden = true;
  }

  /** Shows an alarm by id, or none. One that does not stand any more is fetched. */
  show(id) {
    if (id === this.#id) return;
    this.#id = id;
    this.#point = null;
    this.#failed = "";
    this.comment.value = "";
    this.update();
  }

  /** The alarm that is shown, if it stands. */
  get alarm() {
    return this.#store.alarms.get(this.#id) ?? null;
  }

  /** Acknowledges what is shown, with the comment. */
  acknowledge() {
    if (this.alarm) this.#acknowledging.acknowledge(this.alarm, this.comment.value.trim());
  }

  /** Keeps the trend fresh; once a second. */
  beat() {
    if (this.root.isConnected && !this.body.hidden) this.trend.beat();
  }

  /** Patches what is shown. */
  update() {
    const standing = this.alarm;
    const alarm = standing ?? this.#store.over.get(this.#id);
    this.body.hidden = !alarm;
    this.blank.hidden = Boolean(alarm);
    this.past.hidden = Boolean(alarm) || !this.#failed;
    if (!alarm) {
      const known = this.#store.alarmsKnown;
      if (this.#id === null) text(this.blank, known ? this.#idle : "Asking for the alarms.");
      else text(this.blank, this.#failed || "Asking for this alarm.");
      if (this.#id !== null && known && !this.#failed) this.#fetch();
      return;
    }
    const fresh = Boolean(standing) && unacknowledged(alarm);
    setMark(this.mark, alarm.priority, fresh);
    text(this.title, alarm.title);
    text(this.place, alarm.where || alarm.asset_name || alarm.asset);
    text(this.onset, `${stamp(alarm.since)} ${zone(Date.parse(alarm.since))}`);
    attr(this.onset, "datetime", alarm.since);
    attr(this.onset, "title", utc(alarm.since));
    const confidence =
      typeof alarm.confidence === "number" ? ` · confidence ${Math.min(0.99, alarm.confidence).toFixed(2)}` : "";
    text(this.rest, `${confidence} · ${alarm.priority_word}, ${stateWords(alarm)}`);
    optional(this.summary, alarm.summary === alarm.title ? "" : alarm.summary);
    optional(this.limit, standing && !returned(alarm) ? timeToLimit(alarm) : "");
    optional(this.doubt, alarm.cannot_tell && `? Cannot tell any more: ${alarm.cannot_tell}`);
    optional(this.masks, alarm.masked && `Explains ${many(alarm.masked, "more alarm")}, masked.`);
    optional(
      this.over,
      standing
        ? ""
        : `This alarm is over${alarm.returned_at ? `: back to normal at ${stamp(alarm.returned_at)}` : ""}.`,
    );
    const focused = this.acts.contains(document.activeElement);
    setButton(this.button, alarm, this.#acknowledging.busy(alarm.id));
    this.acts.hidden = !fresh;
    if (focused && this.acts.hidden)
      this.root.closest("main, aside")?.querySelector("[aria-current] .what, [aria-selected=true]")?.focus();
    this.#offer(alarm, standing);
    this.#argue(alarm, standing);
    this.#reason(alarm);
    this.#recount(alarm, standing);
  }

  // What can be done to it besides, and who has put it aside until when.
  #offer(alarm, standing) {
    const aside = putAside(alarm);
    this.aside.hidden = !standing || alarm.state === "suppressed";
    this.shelve.hidden = alarm.state === "out_of_service" || alarm.state === "shelved";
    this.takeOut.hidden = alarm.state === "out_of_service";
    this.back.hidden = !aside;
    this.free.hidden = alarm.state !== "latched_acknowledged";
    this.close.hidden = alarm.active !== false || aside;
    text(this.back, alarm.state === "shelved" ? "Unshelve" : "Return to service");
    for (const button of this.others) button.disabled = this.#acknowledging.busy(alarm.id);
    const { by, reason, until } = alarm.aside ?? {};
    optional(this.owner, alarm.assigned && `It is ${alarm.assigned}’s.`);
    const end = until ? ` until ${stamp(until)}` : "";
    optional(this.put, standing && (by ? `${capital(stateWords(alarm))}${end} by ${by}: ${reason}` : alarm.hidden_why));
  }

  // Lists and events leave the history out, so it is fetched whenever it must have grown.
  async #recount(alarm, standing) {
    const { id, state, priority, since, acknowledged_at, version } = alarm;
    const grown = [id, state, priority, since, acknowledged_at, version].join(" ");
    if (this.#told.grown === grown) return;
    if (this.#told.id !== id) this.#tell([]);
    this.#told = { id, grown };
    if (!standing && !alarm.history) return; // what is over is not asked for: what was told of it stays
    try {
      const { history } = alarm.history ? alarm : await get(`/alarms/${encodeURIComponent(id)}`);
      if (this.#told.grown === grown) this.#tell(history ?? []);
    } catch (problem) {
      // 404: it has just ended; anything else is tried again with the next change
      if (problem.status !== 404 && this.#told.grown === grown) this.#told = { id, grown: "" };
    }
  }

  #tell(history) {
    this.parts.log.hidden = !history.length;
    log(this.log, history);
  }

  #argue(alarm, standing) {
    const evidence = alarm.evidence ?? [];
    this.parts.evidence.hidden = !evidence.length;
    const points = evidence.filter((e) => e.point != null).map((e) => e.point);
    if (!points.includes(this.#point)) this.#point = points[0] ?? null;
    keyed(
      this.evidence,
      evidence.map((e, i) => ({ ...e, i })),
      (e) => `${e.i} ${e.point != null}`,
      (e) =>
        el(
          "div",
          {},
          el("dt", {}, el("span", { "aria-hidden": "true" }), el("span.unseen")),
          el("dd", {}, e.point == null ? el("span") : el("button.plain", { type: "button", title: "Show its trend" })),
          el("dd.n"),
        ),
      (node, e) => {
        const [sign, what, shows] = node.children;
        text(sign.firstChild, SIGN[e.bearing] ?? "?");
        text(sign.children[1], SPOKEN[e.bearing] ?? e.bearing);
        text(what.firstChild, e.what);
        text(shows, e.shows);
        if (e.point == null) return;
        attr(what.firstChild, "aria-pressed", String(e.point === this.#point));
        what.firstChild.onclick = () => {
          this.#point = e.point;
          this.update();
        };
      },
    );
    const until = standing && !returned(alarm) ? null : alarm.returned_at;
    this.trend.show(this.#point, alarm.since, until, alarm.priority);
    this.larger.hidden = this.#point === null;
    attr(this.larger, "href", address("trend", null, { point: points.join(",") }));
  }

  #reason(alarm) {
    const { cause, consequence, action = [], respond_within_min: minutes } = alarm.rationale ?? {};
    const why = [cause, consequence, minutes && `Respond within ${minutes} min.`].filter(Boolean);
    this.parts.why.hidden = !why.length;
    keyed(
      this.why,
      why,
      (line) => line,
      (line) => el("p", {}, line),
    );
    const checks = alarm.check_first ?? [];
    this.parts.checks.hidden = !checks.length;
    steps(this.checks, alarm.id, checks);
    const then = action.filter((line) => !checks.includes(line));
    this.parts.actions.hidden = !then.length;
    keyed(
      this.actions,
      then,
      (line) => line,
      (line) => el("li", {}, line),
    );
  }

  async #fetch() {
    const id = this.#id;
    if (this.#asked === id) return;
    this.#asked = id;
    try {
      this.#store.takeAlarm(await get(`/alarms/${encodeURIComponent(id)}`));
    } catch (problem) {
      const history = problem.status === 404 ? await this.#journal(id) : [];
      if (id !== this.#id) return;
      this.#failed = history.length
        ? `${history[0].rule.replaceAll("-", " ")} at ${history[0].asset}: over. What the journal tells of it:`
        : problem.status === 404
          ? `Alarm ${id} does not stand: it is over, or the link was cut. What stands now is in the list.`
          : `This alarm could not be fetched. ${problem.message}`;
      log(this.past, history);
      this.update();
    } finally {
      this.#asked = null;
    }
  }

  async #journal(id) {
    try {
      return await get(`/alarms/${encodeURIComponent(id)}/history`);
    } catch {
      return []; // 404: none; anything else: the sentence about the alarm itself says what is wrong
    }
  }
}

const capital = (words) => words[0].toUpperCase() + words.slice(1);

function optional(node, sentence) {
  text(node, sentence || "");
  node.hidden = !sentence;
}
