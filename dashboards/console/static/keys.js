// Single keys. They can be switched off, for those whose tools press letters by themselves, and never act while somebody
// types. Lives here: which key does what, and the dialog that says so. Not here: moving inside the map, list and table.

import { el } from "./dom.js";

const KEY = "dcim.keys";
const HELP = [
  ["← → ↑ ↓", "move between racks, alarms, rows"],
  ["Enter", "select what has the focus"],
  ["Space", "tick an alarm, to deal with several at once"],
  ["A", "acknowledge the ticked alarms, or the selected one; without one, select the most urgent"],
  ["S", "shelve them"],
  ["C", "comment on them"],
  ["O", "hand them over"],
  ["M", "to the map"],
  ["L", "to the list of alarms"],
  ["/", "filter the alarms"],
  ["Esc", "close a card or a message"],
  ["?", "these keys"],
];

const enabled = () => localStorage.getItem(KEY) !== "off";

/** Listens for single keys: actions maps a key, lower case, to what it does. "?" is ours. */
export function listen(actions) {
  document.getElementById("keys").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    if (
      event.target.closest("dialog, select, input:not([type=checkbox]), textarea") ||
      document.querySelector("dialog[open]")
    )
      return;
    const act = event.key === "?" ? help : actions[event.key.toLowerCase()];
    if (!act || (event.key !== "Escape" && !enabled())) return;
    event.preventDefault();
    act();
  });
}

function help() {
  const box = el("input", { type: "checkbox", change: () => localStorage.setItem(KEY, box.checked ? "on" : "off") });
  box.checked = enabled();
  const dialog = el(
    "dialog",
    { "aria-labelledby": "keys-title", close: () => dialog.remove() },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "keys-title" }, "Keys"),
      el(
        "table",
        {},
        el(
          "tbody",
          {},
          ...HELP.map(([key, words]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, words))),
        ),
      ),
      el("label.row", {}, box, "Single letters act as keys"),
      el("div", {}, el("button.main", {}, "Close")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
