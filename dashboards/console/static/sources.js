// A sentence about where data come from. Lives here: the sentence. Not here: their accounts (quality.js).

import { since } from "./clock.js";
import { age } from "./format.js";

/** "Sources: bms (connected, last heard 0.3 s ago)." for a hall that nothing has reached yet, and for the overview. */
export function sourcesSentence(items) {
  if (!items.length) return "No source is configured.";
  return `Sources: ${items.map((s) => `${s.source} (${link(s)})`).join(", ")}.`;
}

/** Whether a source is connected, and when it was last heard. */
export function link(source) {
  const word = source.connected == null ? "" : source.connected ? "connected" : "not connected";
  const last = source.last_received ? `last heard ${age(since(source.last_received))} ago` : "nothing received yet";
  return [word, last].filter(Boolean).join(", ");
}
