// How an alarm is told: the signs of its evidence, the lines of its history. Lives here: what the card and the page for a
// phone share. Not here: either of them.

import { el, keyed } from "./dom.js";
import { time } from "./format.js";
import { words } from "./names.js";

/** The sign of a bearing, and what it is called. */
export const SIGN = { for: "+", against: "−", ruled_out: "✕", unknown: "?" };
export const SPOKEN = { for: "speaks for it", against: "speaks against it", ruled_out: "ruled out", unknown: "cannot tell" };

/** Makes a list tell a history, oldest first. */
export function log(list, history) {
  keyed(
    list,
    history,
    (change) => change.seq,
    (change) => el("li", {}, time(change.at), ` ${told(change)}`),
  );
}

/** One line of history: what happened, who did it and what they said, or why the product did it. */
export function told({ change, by, comment, why, priority }) {
  const what = by ? `${words(change).toLowerCase()} by ${by}` : `${words(change).toLowerCase()}, priority ${priority}`;
  return [what, comment && `“${comment}”`, why].filter(Boolean).join(": ");
}
