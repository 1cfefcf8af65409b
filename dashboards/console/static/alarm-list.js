// Active alarms beside the hall: most urgent first, each with what, where, since when, the proof in a line, and the
// button. Lives here: the list. Not here: the whole argument (alarm-card.js) and the table (alarm-table.js).

import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { many } from "./format.js";
import { timeToLimit } from "./names.js";
import { address } from "./route.js";
import { returned, stateWords, unacknowledged } from "./store.js";

const SHOWN = 60; // more than a person reads; the rest is counted, and stands in the table
const PROOFS = 3;

/** The strongest evidence in one line: "Inventory −0.9 L/min · tray sensor dry". */
export function proof(alarm) {
  return (alarm.evidence ?? [])
    .filter((e) => e.bearing === "for" || e.bearing === "against")
    .slice(0, PROOFS)
    .map((e, i) => `${i ? lower(e.what) : e.what} ${e.shows}`)
    .join(" · ");
}

// "Tray sensor" → "tray sensor", but "GPU 3" stays.
const lower = (words) => (/^[A-Z][a-z]/.test(words) ? words[0].toLowerCase() + words.slice(1) : words);

/** Fills a button with what it can do for this alarm now. */
export function setButton(button, alarm, busy) {
  button.hidden = !unacknowledged(alarm);
  button.disabled = busy;
  text(button, busy ? "Acknowledging" : "Acknowledge");
  attr(button, "aria-label", `${button.textContent} ${alarm.title}`);
}

export class AlarmList {
  #store;
  #acknowledging;
  #choose;
  #selected = null;

  /** choose(id): somebody selected an alarm. */
  constructor(store, acknowledging, choose) {
    this.#store = store;
    this.#acknowledging = acknowledging;
    this.#choose = choose;
    this.list = el("ol.alarms", { click: (e) => this.#pick(e), keydown: (e) => this.#key(e) });
    this.more = el("a.sub", { href: "#/alarms", hidden: true });
    this.word = el("p.sub");
    this.masked = el("div.masked", { hidden: true });
    this.root = el(
      "div.drawer",
      {},
      el(
        "div.row.spread",
        {},
        el("h2", { id: "active-alarms" }, "Active alarms"),
        el("span.sub.hints", {}, el("kbd", {}, "A"), " acknowledge ", el("kbd", {}, "?"), " keys"),
      ),
      this.word,
      this.list,
      this.more,
    );
    attr(this.list, "aria-labelledby", "active-alarms");
  }

  /** Shows the alarms as they stand. */
  update() {
    const alarms = this.#store.standing;
    text(this.word, this.#store.alarmsKnown ? (alarms.length ? "" : "No alarm stands.") : "Asking for the alarms.");
    this.word.hidden = alarms.length > 0;
    keyed(
      this.list,
      alarms.slice(0, SHOWN),
      (a) => a.id,
      () => this.#make(),
      (node, a) => this.#patch(node, a),
    );
    this.more.hidden = alarms.length <= SHOWN;
    text(this.more, `and ${many(alarms.length - SHOWN, "more alarm")}`);
  }

  /** Shows which alarm is selected. */
  select(id) {
    this.#selected = id;
    for (const node of this.list.children) attr(node, "aria-current", node.dataset.key === id && "true");
  }

  /** Puts the focus on an alarm, or on the first. */
  focus(id = null) {
    const node = [...this.list.children].find((child) => child.dataset.key === id) ?? this.list.firstElementChild;
    node?.querySelector(".what").focus();
  }

  #make() {
    const parts = {
      mark: mark(4),
      what: el("button.what.plain", { type: "button" }, el("span"), el("span.tag", { hidden: true }, "returned")),
      spoken: el("span.unseen"),
      since: el("time-since.since.n"),
      where: el("span.where"),
      proof: el("span.proof"),
      limit: el("span.limit"),
      doubt: el("span.proof"),
      masks: el("span.proof"),
      main: el("button.main", { type: "button", "data-act": "acknowledge" }),
      open: el("a.button", {}, "Open"),
    };
    const node = el(
      "li.alarm",
      {},
      parts.mark,
      parts.what,
      parts.spoken,
      parts.since,
      parts.where,
      parts.proof,
      parts.limit,
      parts.doubt,
      parts.masks,
      el("span.acts", {}, parts.main, parts.open),
    );
    node.parts = parts;
    return node;
  }

  #patch(node, alarm) {
    const { parts } = node;
    const fresh = unacknowledged(alarm);
    const back = returned(alarm);
    attr(node, "data-state", alarm.state);
    node.classList.toggle("acked", !fresh);
    node.classList.toggle("returned", back);
    attr(node, "aria-current", alarm.id === this.#selected && "true");
    setMark(parts.mark, alarm.priority, fresh);
    text(parts.what.children[0], alarm.title);
    parts.what.children[1].hidden = !back;
    text(parts.spoken, `${alarm.priority_word}, ${stateWords(alarm)}`);
    attr(parts.since, "before", back ? "back " : null);
    attr(parts.since, "at", (back && alarm.returned_at) || alarm.since);
    text(
      parts.where,
      [alarm.where, !fresh && alarm.acknowledged_by && `acknowledged by ${alarm.acknowledged_by}`]
        .filter(Boolean)
        .join(" · "),
    );
    text(parts.proof, fresh ? proof(alarm) || alarm.summary || "" : "");
    text(parts.limit, back ? "" : timeToLimit(alarm));
    text(parts.doubt, alarm.cannot_tell ? `? Cannot tell any more: ${alarm.cannot_tell}` : "");
    text(parts.masks, alarm.masked ? `explains ${many(alarm.masked, "more alarm")}, masked` : "");
    for (const part of [parts.proof, parts.limit, parts.doubt, parts.masks]) part.hidden = !part.textContent;
    const focused = document.activeElement === parts.main;
    setButton(parts.main, alarm, this.#acknowledging.busy(alarm.id));
    if (focused && parts.main.hidden) parts.what.focus();
    parts.main.parentElement.hidden = !fresh;
    attr(parts.open, "href", address("alarms", alarm.id));
    attr(parts.open, "aria-label", `Open ${alarm.title}`);
  }

  #pick(event) {
    const id = event.target.closest(".alarm")?.dataset.key;
    if (!id || event.target.closest("a")) return;
    this.#choose(id);
    if (event.target.dataset.act === "acknowledge") this.#acknowledging.acknowledge(this.#store.alarms.get(id));
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const node = event.target.closest(".alarm");
    if (!step || !node) return;
    event.preventDefault();
    const to = step > 0 ? node.nextElementSibling : node.previousElementSibling;
    to?.querySelector(".what").focus();
    if (to) this.#choose(to.dataset.key);
  }
}
