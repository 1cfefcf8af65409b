// Acknowledging and the other things that a person does to an alarm: who, at most once asked; what the service said to
// it, as a sentence. Lives here: the name, the requests, the notice. Not here: the buttons and keys that begin it.

import { post } from "./api.js";
import { ask } from "./dialog.js";
import { el, text } from "./dom.js";
import { age, many, number, stamp } from "./format.js";
import { since } from "./clock.js";
import { words } from "./names.js";
import { unacknowledged } from "./store.js";

const KEY = "dcim.operator";
const NAME_MAX = 80;

/** The operator's name on this browser, or "". */
export const operator = () => localStorage.getItem(KEY) ?? "";

/** Asks for the operator's name. Resolves to it, or to "" where it was not given. */
export async function askOperator() {
  const said = await ask(
    "Who is at this screen?",
    "Keep this name",
    [
      {
        name: "name",
        label: "The name stands in the history of what you acknowledge. It is kept in this browser.",
        value: operator(),
        required: true,
        max: NAME_MAX,
        more: { autocomplete: "name" },
      },
    ],
  );
  if (!said) return "";
  localStorage.setItem(KEY, said.name);
  return operator();
}

/** A sentence at the foot of the screen, until it is put away or the next one comes. */
export function notice(sentence) {
  const place = document.getElementById("notice");
  if (!sentence) {
    place.hidden = true;
    return;
  }
  const words = el("span");
  place.replaceChildren(
    words,
    el("button", { type: "button", "aria-label": "Put this message away", click: () => notice("") }, "✕"),
  );
  place.hidden = false;
  text(words, sentence);
}

/** Acknowledges alarms for this screen. Nothing is shown as acknowledged before the service has said so. */
export class Acknowledging extends EventTarget {
  #store;
  #under_way = new Set();

  constructor(store) {
    super();
    this.#store = store;
  }

  /** Whether an answer is awaited for this alarm. */
  busy(id) {
    return this.#under_way.has(id);
  }

  /** Asks for the name if need be, sends, and tells how it went. */
  async acknowledge(seen, comment = "") {
    if (!unacknowledged(seen) || this.busy(seen.id)) return;
    const by = operator() || (await askOperator());
    if (!by) return;
    this.#mark(seen.id, true);
    try {
      const alarm = await post(`/alarms/${encodeURIComponent(seen.id)}/acknowledge`, {
        by,
        ...(comment && { comment }),
      });
      this.#store.takeAlarm(alarm);
      notice(`Acknowledged by ${by}: ${alarm.title}.`);
    } catch (problem) {
      notice(this.#explain(seen, problem));
    } finally {
      this.#mark(seen.id, false);
    }
  }

  /** Does something else: `verb` is the last part of the route, `done` what is then told. Resolves to whether it was done. */
  async act(seen, verb, body, done) {
    if (this.busy(seen.id)) return false;
    const by = operator() || (await askOperator());
    if (!by) return false;
    this.#mark(seen.id, true);
    try {
      const path = `/alarms/${encodeURIComponent(seen.id)}/${verb}`;
      this.#store.takeAlarm(await post(path, { by, version: seen.version, ...body }));
      notice(`${done} by ${by}: ${seen.title}.`);
      return true;
    } catch (problem) {
      notice(this.#refused(seen, problem));
      return false;
    } finally {
      this.#mark(seen.id, false);
    }
  }

  /** Does the same to several, and tells how many it was done to, and why not to the others. */
  async several(seen, verb, body, done) {
    const by = operator() || (await askOperator());
    if (!by) return false;
    for (const { id } of seen) this.#mark(id, true);
    let [did, why] = [0, ""];
    try {
      if (verb === "acknowledge") {
        const answer = await post("/alarms/acknowledge", { by, ids: seen.map(({ id }) => id), ...body });
        [did, why] = [answer.done, answer.refused[0]?.detail ?? ""];
      } else
        for (const alarm of seen)
          try {
            const path = `/alarms/${encodeURIComponent(alarm.id)}/${verb}`;
            this.#store.takeAlarm(await post(path, { by, version: alarm.version, ...body }));
            did += 1;
          } catch (problem) {
            why ||= this.#refused(alarm, problem);
            if (problem.status === 0) break; // whoever cannot be reached is not asked a hundred times
          }
    } catch (problem) {
      why = problem.message;
    } finally {
      for (const { id } of seen) this.#mark(id, false);
    }
    const left = seen.length - did;
    notice(
      [did && `${done} by ${by}: ${many(did, "alarm")}.`, left && `Not done to ${number(left, 0)}. ${why}`]
        .filter(Boolean)
        .join(" "),
    );
    return did > 0;
  }

  #refused(seen, problem) {
    const last = problem.body?.changes?.at(-1);
    if (problem.body?.alarm) this.#store.takeAlarm(problem.body.alarm);
    if (last) {
      const what = [words(last.change).toLowerCase(), last.by && `by ${last.by}`].filter(Boolean).join(" ");
      return `${seen.title} has changed meanwhile (${what}): look at it again. Nothing was done.`;
    }
    return `Nothing was done to ${seen.title}. ${problem.message}`;
  }

  #mark(id, busy) {
    if (busy) this.#under_way.add(id);
    else this.#under_way.delete(id);
    this.dispatchEvent(new CustomEvent("change"));
  }

  #explain(seen, problem) {
    const now = problem.body?.alarm;
    if (problem.status === 409 && now) {
      this.#store.takeAlarm(now);
      const when = `at ${stamp(now.acknowledged_at)}, ${age(since(now.acknowledged_at))} ago`;
      return `${now.acknowledged_by ?? "Somebody"} was faster: ${now.title} was acknowledged ${when}.`;
    }
    if (problem.status === 404) return `${seen.title} does not stand any more: there is nothing left to acknowledge.`;
    if (problem.status === 0) {
      return `${problem.message} Whether the acknowledgement was recorded is not known; the list tells when the connection is back.`;
    }
    return `Not acknowledged. ${problem.message}`;
  }
}
