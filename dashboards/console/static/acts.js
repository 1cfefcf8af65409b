// What a person does to one alarm or to several: each asks for what it needs, then does it.
// Lives here: the questions and what they are sent as. Not here: sending (acknowledge.js), the buttons.

import { ask } from "./dialog.js";
import { many } from "./format.js";

// The longest shelf by priority, as the service holds it.
const SHELF_MAX_S = { 1: 3_600, 2: 14_400, 3: 43_200, 4: 259_200 };
const SHELVES_S = [900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 259_200];
const CAUSES = [
  ["fixed", "Something was wrong and has been put right"],
  ["passed", "Something was wrong and went away by itself"],
  ["false", "Nothing was wrong: a sensor, a limit or a rule was"],
  ["work", "People were working there"],
  ["drill", "It was made on purpose"],
];
const REASON = { name: "reason", label: "Why. It is kept for good.", required: true };

const these = (alarms) => (alarms.length === 1 ? alarms[0].title : many(alarms.length, "alarm"));
const hours = (s) => (s < 3600 ? `${s / 60} min` : s < 172_800 ? `${s / 3600} h` : `${s / 86_400} d`);

function run(doing, alarms, verb, body, done) {
  return alarms.length === 1 ? doing.act(alarms[0], verb, body, done) : doing.several(alarms, verb, body, done);
}

/** Puts alarms on the shelf, for as long as the most urgent of them may be. */
export async function shelve(doing, alarms) {
  const most = Math.min(...alarms.map((alarm) => SHELF_MAX_S[alarm.priority]));
  const times = SHELVES_S.filter((s) => s <= most);
  const fields = [
    REASON,
    { name: "for_s", label: "For how long", options: times.map((s) => [s, hours(s)]), value: Math.min(3_600, most) },
  ];
  const words = "It comes back by itself, and at once where it becomes more urgent.";
  const said = await ask(`Shelve ${these(alarms)}`, "Shelve", fields, words);
  if (!said) return false;
  const for_s = Number(said.for_s);
  return run(doing, alarms, "shelve", { reason: said.reason, for_s }, `Shelved for ${hours(for_s)}`);
}

/** Adds to the history. */
export async function comment(doing, alarms) {
  const label = "What you have seen or done. It stands in the history for good.";
  const said = await ask(`Comment on ${these(alarms)}`, "Add it", [{ name: "comment", label, required: true }]);
  return said ? run(doing, alarms, "comment", said, "Commented") : false;
}

/** Says whose they are from now on. */
export async function assign(doing, alarms) {
  const said = await ask(`Hand over ${these(alarms)}`, "Hand over", [
    { name: "to", label: "To whom; empty: it is nobody’s", max: 200, value: alarms[0].assigned ?? "" },
    { name: "comment", label: "What they should know, if anything" },
  ]);
  if (!said) return false;
  return run(doing, alarms, "assign", said, said.to ? `Handed over to ${said.to}` : "Given back");
}

/** Takes them out of service until somebody brings them back. */
export async function takeOut(doing, alarms) {
  const words = "Nobody is told any more until somebody returns it to service: for what is broken or under repair.";
  const said = await ask(`Take ${these(alarms)} out of service`, "Take out", [REASON], words);
  return said ? run(doing, alarms, "out-of-service", said, "Taken out of service") : false;
}

/** Off the shelf, or back into service. */
export function bringBack(doing, alarm) {
  return alarm.state === "shelved"
    ? run(doing, [alarm], "unshelve", { comment: "" }, "Taken off the shelf")
    : run(doing, [alarm], "return-to-service", { comment: "" }, "Returned to service");
}

/** Lets a latched alarm go. */
export function reset(doing, alarm) {
  return run(doing, [alarm], "reset", { comment: "" }, "Reset");
}

/** Says what it was, and lets it go. */
export async function close(doing, alarm) {
  const said = await ask(`Close ${alarm.title}`, "Close it", [
    { name: "cause", label: "What it was", options: CAUSES },
    { name: "comment", label: "What others should know, if anything" },
  ]);
  return said ? run(doing, [alarm], "close", said, "Closed") : false;
}
