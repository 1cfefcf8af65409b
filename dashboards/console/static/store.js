// What this screen knows: the hall as last heard and the alarms that stand. Lives here: how a snapshot or an event
// changes it, and the order of urgency. Not here: how it arrives (link.js) and how it looks.
//
// Events: "hall" (layout or everything), "values" (detail: Set of changed keys), "alarms" (detail: Set of asset keys).

const OVER_KEPT = 200;
const STATES = {
  normal: "over",
  unacknowledged: "unacknowledged",
  acknowledged: "acknowledged",
  returned: "returned, unacknowledged",
  latched_unacknowledged: "returned, latched, unacknowledged",
  latched_acknowledged: "returned, latched: to be reset",
  shelved: "shelved",
  suppressed: "suppressed by design",
  out_of_service: "out of service",
};
const ASIDE = new Set(["shelved", "out_of_service", "suppressed"]);
const UNACKNOWLEDGED = new Set(["unacknowledged", "returned", "latched_unacknowledged"]);
const EXPLAINED = new Set(["site", "upstream"]);
const BACK = new Set(["returned", "latched_unacknowledged", "latched_acknowledged"]);

/** The key of an asset: ids are unique within a site only. */
export const keyOf = (site, id) => `${site}/${id}`;

/** Whether somebody still has to acknowledge this alarm, back to normal or not. */
export const unacknowledged = (alarm) => UNACKNOWLEDGED.has(alarm.state);

/** Whether its condition is gone. */
export const returned = (alarm) => BACK.has(alarm.state);

/** Whether a person or the design has put it aside: it asks for nobody. */
export const putAside = (alarm) => ASIDE.has(alarm.state);

/** The state of an alarm in words. */
export const stateWords = (alarm) => STATES[alarm.state] ?? alarm.state;

/** One order everywhere: what stands before what has returned, then priority, then unacknowledged, then the newest. */
export function byUrgency(a, b) {
  return (
    returned(a) - returned(b) ||
    a.priority - b.priority ||
    unacknowledged(b) - unacknowledged(a) ||
    Date.parse(b.since) - Date.parse(a.since) ||
    (a.id < b.id ? -1 : 1)
  );
}

export class Store extends EventTarget {
  /** ms of the service's clock that the hall was last heard at; null: never. */
  at = null;
  staleAfter = null;
  quantities = [];
  halls = [];
  racks = new Map();
  cdus = new Map();
  coverage = null;
  alarms = new Map();
  /** Standing alarms, most urgent first; without those that were put aside. */
  standing = [];
  /** Alarms on the shelf or out of service, in the same order. */
  aside = [];
  /** Most urgent alarm by asset key. */
  worst = new Map();
  /** Alarms that the design hides, as last asked for; null: not known. */
  hidden = null;
  /** Why they are not known, as a sentence. */
  hiddenProblem = "";
  /** What hides an asset's alarms, by its key: for assets of which nothing else stands. */
  maskedAt = new Map();
  /** How many findings all of them explain. */
  masked = 0;
  /** Alarms that are over, as they were last, so that an open one can still be read. */
  over = new Map();
  /** False until the first list of alarms has come: not knowing is not "none". */
  alarmsKnown = false;

  #say(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  /** The whole hall. */
  takeHall(snapshot) {
    this.at = Date.parse(snapshot.at);
    this.staleAfter = snapshot.stale_after_s ?? null;
    this.quantities = snapshot.quantities;
    this.halls = snapshot.halls;
    this.racks = new Map(Object.entries(snapshot.racks).map(([key, rack]) => [key, heard(rack, this.at)]));
    this.cdus = new Map(Object.entries(snapshot.cdus ?? {}).map(([key, cdu]) => [key, heard(cdu, this.at)]));
    this.coverage = snapshot.coverage ?? null;
    this.#say("hall");
  }

  /** What changed in it. Returns false where it speaks of an asset that is not known: the layout has changed. */
  patchHall(event) {
    this.at = Math.max(this.at ?? 0, Date.parse(event.at));
    const changed = new Set();
    let known = true;
    for (const [fresh, into] of [
      [event.racks, this.racks],
      [event.cdus, this.cdus],
    ]) {
      for (const [key, news] of Object.entries(fresh ?? {})) {
        const asset = into.get(key);
        if (!asset) {
          known = false;
          continue;
        }
        Object.assign(asset.values, news.values);
        if ("age_s" in news) asset.age_s = news.age_s;
        if ("stale" in news) asset.stale = news.stale;
        heard(asset, Date.parse(event.at));
        changed.add(key);
      }
    }
    if (event.coverage) this.coverage = event.coverage;
    this.#say("values", changed);
    return known;
  }

  /** The whole list of standing alarms. */
  takeAlarms(items) {
    const ids = new Set(items.map((alarm) => alarm.id));
    for (const alarm of this.alarms.values()) if (!ids.has(alarm.id)) this.#end(alarm);
    this.alarms = new Map(items.filter((alarm) => alarm.state !== "normal").map((alarm) => [alarm.id, alarm]));
    this.alarmsKnown = true;
    this.#rank();
  }

  /** One alarm after a transition; in state "normal" it is over. */
  takeAlarm(alarm) {
    if (alarm.state === "normal") {
      this.alarms.delete(alarm.id);
      this.#end(alarm);
    } else {
      this.over.delete(alarm.id);
      this.alarms.set(alarm.id, alarm);
    }
    this.#rank();
  }

  /** What the design hides, or null and why that is not known: what was known then no longer counts. */
  takeHidden(items, problem = "") {
    this.hidden = items;
    this.hiddenProblem = problem;
    const before = this.maskedAt;
    const explained = (items ?? []).filter((alarm) => EXPLAINED.has(alarm.hidden_how));
    this.maskedAt = new Map(explained.map((alarm) => [keyOf(alarm.site, alarm.asset), alarm.hidden_why ?? ""]));
    this.#say("alarms", new Set([...before.keys(), ...this.maskedAt.keys()]));
  }

  #end(alarm) {
    this.over.delete(alarm.id);
    this.over.set(alarm.id, alarm);
    if (this.over.size > OVER_KEPT) this.over.delete(this.over.keys().next().value);
  }

  #rank() {
    const all = [...this.alarms.values()].sort(byUrgency);
    this.standing = all.filter((alarm) => !putAside(alarm));
    this.aside = all.filter(putAside);
    this.masked = this.standing.reduce((sum, alarm) => sum + (alarm.masked ?? 0), 0);
    const before = this.worst;
    this.worst = new Map();
    for (const alarm of this.standing) {
      const key = keyOf(alarm.site, alarm.asset);
      if (!this.worst.has(key)) this.worst.set(key, alarm);
    }
    const touched = new Set();
    for (const key of new Set([...before.keys(), ...this.worst.keys()])) {
      if (before.get(key) !== this.worst.get(key)) touched.add(key);
    }
    this.#say("alarms", touched);
  }

  /** Everything that stands at an asset, most urgent first. */
  alarmsAt(key) {
    return this.worst.has(key) ? this.standing.filter((alarm) => keyOf(alarm.site, alarm.asset) === key) : [];
  }
}

// Remembers when an asset was heard, so that its age goes on while nobody says anything.
function heard(asset, at) {
  asset.heard = asset.age_s == null ? null : at - asset.age_s * 1000;
  return asset;
}
