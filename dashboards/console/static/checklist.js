// Steps to tick off. A tick is a note to oneself: kept in this browser so that it outlives a locked phone, told to nobody.
// Lives here: the list and its ticks. Not here: which steps an alarm has.

import { el, keyed } from "./dom.js";

const KEY = "dcim.ticks";
const ALARMS_KEPT = 50;

// Whatever else stands under the key is no note of ours, and counts as none.
function notes() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => Array.isArray(one) && Array.isArray(one[1])) : [];
  } catch {
    return [];
  }
}

const ticked = (id) => new Set(notes().find(([alarm]) => alarm === id)?.[1]);

function tick(id, line, on) {
  const lines = ticked(id);
  if (on) lines.add(line);
  else lines.delete(line);
  const others = notes().filter(([alarm]) => alarm !== id);
  localStorage.setItem(KEY, JSON.stringify([[id, [...lines]], ...others].slice(0, ALARMS_KEPT)));
}

/** Makes a list show the steps of an alarm, ticked as they were. */
export function steps(list, id, lines) {
  keyed(
    list,
    lines,
    (line) => `${id} ${line}`,
    (line) => {
      const box = el("input", { type: "checkbox", change: () => tick(id, line, box.checked) });
      box.checked = ticked(id).has(line);
      return el("li", {}, el("label", { title: "A note for this browser alone" }, box, el("span", {}, line)));
    },
  );
}
