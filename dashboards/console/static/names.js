// Plain words for the keys that the service does not explain itself. Lives here: the words. Not here: quantities, which
// bring their names along.

const VALUES = {
  supply_c: "Supply",
  return_c: "Return",
  flow_lpm: "Flow",
  primary_supply_c: "Facility supply",
  primary_return_c: "Facility return",
  primary_flow_lpm: "Facility flow",
  supply_kpa: "Supply pressure",
  return_kpa: "Return pressure",
  dp_kpa: "Differential pressure",
  pump_pct: "Pumps",
  valve_pct: "Valve",
  level_pct: "Reservoir level",
  approach_k: "Approach",
  ua_kw_per_k: "Conductance UA",
  leak: "Leak sensor",
};

/** The name of a value by its key: "valve_pct" → "Valve". */
export function nameOf(key) {
  return VALUES[key] ?? words(key.replace(/_(c|lpm|kpa|pct|kw)$/, ""));
}

/** A code as words: "time_too_old" → "Time too old". */
export function words(code) {
  const spaced = String(code).replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

/** Names in one piece as words: "Secondary LiquidFlow" → "Secondary liquid flow"; "CDU-1" and "Pump1" stay. */
export function plain(name) {
  const spaced = name.replace(/\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b/g, (one) =>
    one.replace(/(?!^)[A-Z]/g, (start) => ` ${start}`).toLowerCase(),
  );
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

// What a time to limit leads to, by the kind of the finding; others just reach their limit.
const HARM = { leak_suspected: "Low-level trip", leak_wet: "Low-level trip", flow_lost: "Throttling" };

/** "Low-level trip in about 41 min", or "" where no time is known. */
export function timeToLimit(alarm) {
  const s = alarm.time_to_limit_s;
  if (typeof s !== "number") return "";
  const span = s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
  return `${HARM[alarm.kind] ?? "Limit"} ${s <= 0 ? "reached" : `in about ${span}`}`;
}
