// The service's time, as far as this browser can tell. The browser's own clock may be hours off, so no age is ever
// taken from it. Lives here: the offset, learned from what the service says. Not here: how a time is written.

let ahead = null; // service time − monotonic time of this page, ms

/**
 * Learns from a message that says when it was sent. Returns how late it is in ms, against the fastest seen since the
 * last fresh one: a proxy that holds a stream back shows as lateness, not as a slower clock. fresh: the message answers
 * a request of ours, so nobody can have held it back for long; it also heals a clock that was set back.
 */
export function hear(iso, fresh = false) {
  const offset = Date.parse(iso) - performance.now();
  if (!Number.isFinite(offset)) return 0;
  if (fresh || ahead === null || offset > ahead) ahead = offset;
  return ahead - offset;
}

/** Now, by the service's clock, ms since 1970; before the first word from the service, by the browser's. */
export function now() {
  return ahead === null ? Date.now() : performance.now() + ahead;
}

/** Whether the service has ever said what time it is. */
export function known() {
  return ahead !== null;
}

/** Seconds from an ISO time until now, by the service's clock; never negative. */
export function since(iso) {
  return Math.max(0, (now() - Date.parse(iso)) / 1000);
}
