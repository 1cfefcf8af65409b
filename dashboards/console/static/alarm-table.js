// The page of alarms: one table, most urgent first or as one sorts it, filtered as one types; several can be ticked and
// dealt with at once; the same card beside it. Lives here: the table and its views. Not here: the card (alarm-card.js),
// what is done (acts.js), the journal's table (alarm-journal.js).

import * as acts from "./acts.js";
import { AlarmJournal } from "./alarm-journal.js";
import { proof } from "./alarm-list.js";
import { save } from "./csv.js";
import { attr, el, keyed, mark, setMark, text } from "./dom.js";
import { many, number, stamp, utc } from "./format.js";
import { timeToLimit } from "./names.js";
import { byUrgency, returned, stateWords, unacknowledged } from "./store.js";

const SHOWN = 500;

// Views: which alarms, and what is said where there are none.
const VIEWS = {
  "": { name: "Standing", none: "No alarm stands.", of: (store) => store.standing },
  unacknowledged: {
    name: "Unacknowledged",
    none: "Every standing alarm is acknowledged.",
    of: (store) => store.standing.filter(unacknowledged),
  },
  shelved: {
    name: "Shelved",
    none: "No alarm is on the shelf.",
    of: (store) => store.aside.filter((alarm) => alarm.state === "shelved"),
  },
  masked: { name: "Masked", none: "No alarm is hidden by the design.", of: (store) => store.hidden ?? [] },
  out: {
    name: "Out of service",
    none: "No alarm is out of service.",
    of: (store) => store.aside.filter((alarm) => alarm.state === "out_of_service"),
  },
};
const placeOf = (alarm) => alarm.where || alarm.asset_name || alarm.asset;
const whoOf = (alarm) =>
  (alarm.aside
    ? [alarm.aside.by, alarm.aside.reason]
    : [alarm.acknowledged_by, alarm.comment, alarm.assigned && `→ ${alarm.assigned}`]
  )
    .filter(Boolean)
    .join(": ");
const words = (of) => (a, b) => of(a).localeCompare(of(b), "en", { numeric: true });
// What the table can be sorted by; a "-" before it turns it round.
const SORTS = {
  priority: byUrgency,
  what: words((alarm) => alarm.title),
  where: words(placeOf),
  state: words(stateWords),
  since: (a, b) => Date.parse(b.since) - Date.parse(a.since),
  who: words(whoOf),
};
const COLUMNS = [
  ["what", "What"],
  ["where", "Where"],
  ["state", "State"],
  ["since", "Since"],
  ["who", "Who"],
];

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
    alarm.assigned,
    alarm.aside?.by,
    alarm.aside?.reason,
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
  #doing;
  #selected = null;
  #ticked = new Set();
  #shown = [];

  /** choose(id): somebody selected an alarm. */
  constructor(store, route, doing, choose) {
    this.#store = store;
    this.#route = route;
    this.#doing = doing;
    this.#choose = choose;
    const view = (key) => el("button", { type: "button", click: () => this.#show(key) });
    this.views = Object.keys(VIEWS).map((key) => [key, view(key)]);
    this.past = el("button", { type: "button", click: () => this.#show("history") }, "History");
    this.filter = el("input", {
      type: "search",
      "aria-label": "Filter the alarms",
      placeholder: "filter: rack, rule, person",
      input: () => route.set({ filter: this.filter.value.trim() }),
    });
    this.every = el("input", {
      type: "checkbox",
      "aria-label": "Tick all that are shown",
      change: () => this.#tickAll(this.every.checked),
    });
    this.heads = COLUMNS.map(([key, name]) =>
      el(
        `th${key === "since" ? ".n" : ""}`,
        {},
        el("button.plain.sort", { type: "button", click: () => this.#sort(key) }, name),
      ),
    );
    this.priority = el(
      "th",
      {},
      el(
        "span.pick-all",
        {},
        el("label.tick", {}, this.every),
        el(
          "button.plain.sort",
          { type: "button", click: () => this.#sort("priority"), "aria-label": "Priority, most urgent first" },
          "!",
        ),
      ),
    );
    this.rows = el("tbody", { click: (e) => this.#pick(e), keydown: (e) => this.#key(e) });
    this.table = el(
      "div.card.table.pick",
      {},
      el("table", {}, el("thead", {}, el("tr", {}, this.priority, ...this.heads)), this.rows),
    );
    this.journal = new AlarmJournal(route, choose);
    this.word = el("p.sub", { role: "status" });
    this.recent = el("span.sub");
    const act = (name, does) => el("button", { type: "button", click: () => this.#do(does) }, name);
    this.count = el("b", { role: "status" });
    this.several = el(
      "div.row.card.several",
      { hidden: true, "aria-label": "What to do with the ticked alarms", role: "group" },
      this.count,
      act("Acknowledge", (some) => this.#doing.several(some, "acknowledge", {}, "Acknowledged")),
      act("Shelve…", (some) => acts.shelve(this.#doing, some)),
      act("Hand over…", (some) => acts.assign(this.#doing, some)),
      act("Comment…", (some) => acts.comment(this.#doing, some)),
      el("button", { type: "button", click: () => this.#tickAll(false) }, "Untick"),
    );
    this.nodes = [
      el(
        "div.row.spread",
        {},
        el("h1", {}, "Alarms"),
        el("span.sub", {}, this.recent, " ", el("a.inline", { href: "#/kpis" }, "KPIs")),
      ),
      el(
        "div.row",
        {},
        ...this.views.map(([, button]) => button),
        this.past,
        el("span.grow"),
        this.filter,
        el("button", { type: "button", click: () => this.#save(), title: "What is shown, as a file" }, "CSV"),
      ),
      this.several,
      this.word,
      this.table,
      ...this.journal.nodes,
      el(
        "div.sub.hints",
        {},
        ...[
          ["↑ ↓", "move"],
          ["Enter", "select"],
          ["Space", "tick"],
          ["A", "acknowledge"],
          ["S", "shelve"],
          ["C", "comment"],
          ["/", "filter"],
          ["?", "all keys"],
        ].flatMap(([key, does], i) => [i ? " · " : "", el("kbd", {}, key), ` ${does}`]),
      ),
    ];
  }

  get #view() {
    return this.#route.query.get("show") ?? "";
  }

  #show(key) {
    this.#ticked.clear();
    this.#route.set({ show: key });
  }

  #sort(key) {
    const now = this.#route.query.get("sort") ?? "priority";
    this.#route.set({ sort: now === key ? `-${key}` : key === "priority" ? null : key });
  }

  /** The ticked alarms that are shown. */
  get ticked() {
    return this.#shown.filter((alarm) => this.#ticked.has(alarm.id));
  }

  /** Shows the alarms that the address asks for. */
  update() {
    const past = this.#view === "history";
    const view = VIEWS[this.#view] ?? VIEWS[""];
    const filter = this.#route.query.get("filter") ?? "";
    if (document.activeElement !== this.filter) this.filter.value = filter;
    for (const [key, button] of this.views) {
      const size = VIEWS[key].of(this.#store).length;
      text(button, key === "masked" && !this.#store.hidden ? "Masked" : `${VIEWS[key].name} ${number(size, 0)}`);
      attr(button, "aria-pressed", String(!past && VIEWS[key] === view));
    }
    attr(this.past, "aria-pressed", String(past));
    this.#shown = past ? [] : this.#sorted(view.of(this.#store)).filter((one) => matches(one, filter));
    const kept = this.#shown.slice(0, SHOWN);
    for (const id of this.#ticked) if (!kept.some((alarm) => alarm.id === id)) this.#ticked.delete(id);
    keyed(
      this.rows,
      kept,
      (a) => a.id,
      () => this.#make(),
      (row, a) => this.#patch(row, a),
    );
    this.table.hidden = past || !kept.length;
    this.journal.show(past, filter);
    text(this.word, past ? "" : this.#words(view, this.#shown.length));
    this.word.hidden = !this.word.textContent;
    text(
      this.recent,
      [
        this.#store.masked && `${many(this.#store.masked, "more alarm")} masked: explained by one of these`,
        this.#store.aside.length && `${this.#store.aside.length} put aside`,
      ]
        .filter(Boolean)
        .map((part) => `${part} ·`)
        .join(" "),
    );
    this.#count();
    this.#rove();
  }

  #sorted(alarms) {
    const asked = this.#route.query.get("sort") ?? "priority";
    const key = asked.replace(/^-/, "") in SORTS ? asked.replace(/^-/, "") : "priority";
    const back = asked.startsWith("-");
    [["priority"], ...COLUMNS].forEach(([name], i) =>
      attr(
        i ? this.heads[i - 1] : this.priority,
        "aria-sort",
        name === key ? (back ? "descending" : "ascending") : null,
      ),
    );
    const order = [...alarms].sort((a, b) => SORTS[key](a, b) || byUrgency(a, b));
    return back ? order.reverse() : order;
  }

  #words(view, matching) {
    const there = view.of(this.#store).length;
    if (!this.#store.alarmsKnown) return "Asking for the alarms.";
    if (view === VIEWS.masked && !this.#store.hidden) return this.#store.hiddenProblem || "Asking for what is masked.";
    if (!there) return view.none;
    if (!matching) return `None of ${many(there, "alarm")} here matches the filter.`;
    const more = matching - SHOWN;
    return more > 0 ? `${many(more, "more alarm")} below these: narrow the filter.` : "";
  }

  /** Keeps the journal fresh; once a second. */
  beat() {
    this.journal.beat();
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
      tick: el("input", { type: "checkbox", tabindex: "-1" }),
      mark: mark(4),
      title: el("span.title"),
      spoken: el("span.unseen"),
      proof: el("div.sub"),
      at: el("time"),
      since: el("time-since.sub"),
    };
    row.children[0].append(el("span.pick-all", {}, el("label.tick", {}, parts.tick), parts.mark), parts.spoken);
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
    parts.tick.checked = this.#ticked.has(alarm.id);
    attr(parts.tick, "aria-label", `Tick ${alarm.title}`);
    setMark(parts.mark, alarm.priority, fresh);
    text(parts.spoken, alarm.priority_word);
    text(parts.title, alarm.title);
    text(
      parts.proof,
      [
        proof(alarm),
        returned(alarm) ? "" : timeToLimit(alarm),
        alarm.masked && `masks ${alarm.masked}`,
        alarm.hidden_why,
      ]
        .filter(Boolean)
        .join(" · "),
    );
    text(row.children[2], placeOf(alarm));
    text(row.children[3], stateWords(alarm));
    text(parts.at, stamp(alarm.since));
    attr(parts.at, "datetime", alarm.since);
    attr(parts.at, "title", utc(alarm.since));
    attr(parts.since, "at", alarm.since);
    text(row.children[5], whoOf(alarm));
  }

  // -- ticking -------------------------------------------------------------------------------------------------------

  #tickAll(on) {
    this.#ticked = new Set(on ? this.#shown.slice(0, SHOWN).map((alarm) => alarm.id) : []);
    for (const row of this.rows.children) row.parts.tick.checked = on;
    this.#count();
  }

  #tick(id, on) {
    if (on) this.#ticked.add(id);
    else this.#ticked.delete(id);
    this.#count();
  }

  #count() {
    const size = this.#ticked.size;
    this.several.hidden = !size;
    text(this.count, size ? `${number(size, 0)} ticked` : "");
    this.every.checked = size > 0 && size === Math.min(this.#shown.length, SHOWN);
    this.every.indeterminate = size > 0 && !this.every.checked;
  }

  async #do(does) {
    if (await does(this.ticked)) this.#tickAll(false);
  }

  #save() {
    if (this.#view === "history") return this.journal.save();
    const heading = ["priority", "title", "site", "asset", "where", "state", "since_utc", "who", "confidence", "evidence"];
    save(
      `alarms-${this.#view || "standing"}`,
      heading,
      this.#shown.map((alarm) => [
        alarm.priority,
        alarm.title,
        alarm.site,
        alarm.asset,
        alarm.where,
        stateWords(alarm),
        alarm.since,
        whoOf(alarm),
        alarm.confidence,
        proof(alarm),
      ]),
    );
  }

  #pick(event) {
    const id = event.target.closest("tr")?.dataset.key;
    if (!id) return;
    if (event.target.matches("input")) this.#tick(id, event.target.checked);
    else if (!event.target.closest("label")) this.#choose(id);
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
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.#choose(row.dataset.key);
    } else if (event.key === " " && event.target === row) {
      event.preventDefault();
      row.parts.tick.checked = !row.parts.tick.checked;
      this.#tick(row.dataset.key, row.parts.tick.checked);
    }
  }
}
