// The page of alarms: one table, most urgent first, filtered as one types; the same card beside it.
// Lives here: the table. Not here: the card (alarm-card.js).

import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { many, stamp, utc } from "./format.js";
import { proof } from "./alarm-list.js";
import { timeToLimit } from "./names.js";
import { returned, stateWords, unacknowledged } from "./store.js";

const SHOWN = 500;

/** Whether an alarm has all the words somewhere that a person would look. */
export function matches(alarm, filter) {
  const said = [
    alarm.title,
    alarm.summary,
    alarm.where,
    alarm.site,
    alarm.asset,
    alarm.asset_name,
    alarm.rule,
    alarm.priority_word,
    alarm.state,
    alarm.acknowledged_by,
    alarm.comment,
  ]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => said.includes(word));
}

export class AlarmTable {
  #store;
  #choose;
  #route;
  #selected = null;

  constructor(store, route, choose) {
    this.#store = store;
    this.#route = route;
    this.#choose = choose;
    this.standing = el("button", { type: "button", click: () => route.set({ show: null }) });
    this.fresh = el("button", { type: "button", click: () => route.set({ show: "unacknowledged" }) });
    this.filter = el("input", {
      type: "search",
      "aria-label": "Filter the alarms",
      placeholder: "filter: rack, rule, person",
      input: () => route.set({ filter: this.filter.value.trim() }),
    });
    this.rows = el("tbody", { click: (e) => this.#pick(e), keydown: (e) => this.#key(e) });
    this.table = el(
      "div.card.table.pick",
      {},
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", {}, el("span.unseen", {}, "Priority")),
            el("th", {}, "What"),
            el("th", {}, "Where"),
            el("th", {}, "State"),
            el("th.n", {}, "Since"),
            el("th", {}, "Who"),
          ),
        ),
        this.rows,
      ),
    );
    this.word = el("p.sub");
    this.recent = el("span.sub");
    this.nodes = [
      el("div.row.spread", {}, el("h1", {}, "Alarms"), this.recent),
      el("div.row", {}, this.standing, this.fresh, el("span.grow"), this.filter),
      this.word,
      this.table,
      el(
        "div.sub.hints",
        {},
        el("kbd", {}, "↑"),
        " ",
        el("kbd", {}, "↓"),
        " move · ",
        el("kbd", {}, "Enter"),
        " select · ",
        el("kbd", {}, "A"),
        " acknowledge · ",
        el("kbd", {}, "/"),
        " filter · ",
        el("kbd", {}, "?"),
        " all keys",
      ),
    ];
  }

  /** Shows the alarms that the address asks for. */
  update() {
    const all = [...this.#store.standing, ...this.#store.aside];
    const waiting = all.filter(unacknowledged);
    const filter = this.#route.query.get("filter") ?? "";
    const only = this.#route.query.get("show") === "unacknowledged";
    if (document.activeElement !== this.filter) this.filter.value = filter;
    text(this.standing, `Standing ${this.#store.standing.length}`);
    text(this.fresh, `Unacknowledged ${waiting.length}`);
    attr(this.standing, "aria-pressed", String(!only));
    attr(this.fresh, "aria-pressed", String(only));
    const kept = (only ? waiting : all).filter((alarm) => matches(alarm, filter));
    keyed(
      this.rows,
      kept.slice(0, SHOWN),
      (a) => a.id,
      () => this.#make(),
      (row, a) => this.#patch(row, a),
    );
    this.table.hidden = !kept.length;
    const hidden = kept.length - SHOWN;
    if (!this.#store.alarmsKnown) text(this.word, "Asking for the alarms.");
    else if (!all.length) text(this.word, "No alarm stands.");
    else if (!kept.length)
      text(
        this.word,
        only && !waiting.length ? "Every standing alarm is acknowledged." : "No standing alarm matches the filter.",
      );
    else text(this.word, hidden > 0 ? `${many(hidden, "more alarm")} below these: narrow the filter.` : "");
    this.word.hidden = !this.word.textContent;
    text(
      this.recent,
      [
        this.#store.aside.length && `${this.#store.aside.length} put aside, at the end`,
        this.#store.masked && `${many(this.#store.masked, "more alarm")} masked: explained by one of these`,
      ]
        .filter(Boolean)
        .join(" · "),
    );
    this.#rove();
  }

  /** Shows which row is selected. */
  select(id) {
    this.#selected = id;
    for (const row of this.rows.children) attr(row, "aria-selected", String(row.dataset.key === id));
    this.#rove();
  }

  /** Puts the focus on an alarm's row, or on the first. */
  focus(id = null) {
    ([...this.rows.children].find((row) => row.dataset.key === id) ?? this.rows.firstElementChild)?.focus();
  }

  #rove() {
    const home =
      [...this.rows.children].find((row) => row.dataset.key === this.#selected) ?? this.rows.firstElementChild;
    for (const row of this.rows.children) attr(row, "tabindex", row === home ? "0" : "-1");
  }

  #make() {
    const row = el("tr", {}, el("td"), el("td"), el("td"), el("td"), el("td.n"), el("td"));
    const parts = {
      mark: mark(4),
      title: el("span.title"),
      spoken: el("span.unseen"),
      proof: el("div.sub"),
      at: el("time"),
      since: el("time-since.sub"),
    };
    row.children[0].append(parts.mark, parts.spoken);
    row.children[1].append(parts.title, parts.proof);
    row.children[4].append(parts.at, el("div", {}, parts.since));
    row.parts = parts;
    return row;
  }

  #patch(row, alarm) {
    const { parts } = row;
    const fresh = unacknowledged(alarm);
    row.classList.toggle("fresh", fresh);
    attr(row, "aria-selected", String(alarm.id === this.#selected));
    setMark(parts.mark, alarm.priority, fresh);
    text(parts.spoken, alarm.priority_word);
    text(parts.title, alarm.title);
    text(
      parts.proof,
      [proof(alarm), returned(alarm) ? "" : timeToLimit(alarm), alarm.masked && `masks ${alarm.masked}`]
        .filter(Boolean)
        .join(" · "),
    );
    text(row.children[2], alarm.where || alarm.asset_name || alarm.asset);
    text(row.children[3], stateWords(alarm));
    text(parts.at, stamp(alarm.since));
    attr(parts.at, "datetime", alarm.since);
    attr(parts.at, "title", utc(alarm.since));
    attr(parts.since, "at", alarm.since);
    const who = alarm.aside ? [alarm.aside.by, alarm.aside.reason] : [alarm.acknowledged_by, alarm.comment];
    text(row.children[5], who.filter(Boolean).join(": "));
  }

  #pick(event) {
    const id = event.target.closest("tr")?.dataset.key;
    if (id) this.#choose(id);
  }

  #key(event) {
    const row = event.target.closest("tr");
    if (!row) return;
    const to = {
      ArrowDown: row.nextElementSibling,
      ArrowUp: row.previousElementSibling,
      Home: this.rows.firstElementChild,
      End: this.rows.lastElementChild,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      if (to) {
        for (const other of this.rows.children) attr(other, "tabindex", other === to ? "0" : "-1");
        to.focus();
      }
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(row.dataset.key);
    }
  }
}
