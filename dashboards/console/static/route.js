// Where the reader is, kept in the address so that a link shows a colleague the same thing.
//   #/?hall=demo/Hall 1&by=flow_lpm&at=demo/H1-A05&alarm=…   the hall
//   #/alarms?show=unacknowledged&filter=…   #/alarms/<id>    the alarms
//   #/overview   #/rack/<site>%2F<id>   #/loop/<site>%2F<id>   a rack and a loop, their range: &span=24h or &from=…&to=…
//   #/trend?point=12,13&span=24h                             any points
//   #/power?of=hall/demo/Hall 1&feed=asset/demo/H1-BUS-A     feeds, and what the loss of one would do
//   #/gpus?of=asset/demo/H1-A05&only=thermal&sort=-power_kw  all GPUs
//   #/efficiency?of=site/demo&window=30d                     ratios and cost
//   #/capacity?level=row&window=7d                           headroom, redundancy, use
//   #/kpis?days=30   #/quality                               how well alarms work; data quality
// Lives here: reading and writing it. Not here: what the pages do with it.

/** The place that an address names: {page, id, query}. An unknown page is named as it stands. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page, ...rest] = path.split("/");
  return { page: page || "hall", id: rest.length ? decode(rest.join("/")) : null, query: new URLSearchParams(query) };
}

/** The address of a place. Empty and null parts are left out. */
export function address(page, id = null, query = {}) {
  const written = new URLSearchParams();
  for (const [key, value] of query instanceof URLSearchParams ? query : Object.entries(query))
    if (value) written.set(key, value);
  const tail = written.size ? `?${written}` : "";
  return `#/${page === "hall" ? "" : page}${id ? `/${encodeURIComponent(id)}` : ""}${tail}`;
}

// A mangled link still leads somewhere: it is then an unknown id, and is said to be one.
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export class Route extends EventTarget {
  #lastHall = "#/";

  constructor() {
    super();
    Object.assign(this, parse(location.hash));
    window.addEventListener("hashchange", () => this.#moved());
  }

  /** The address of the hall as it was last looked at. */
  get lastHall() {
    return this.page === "hall" ? location.hash || "#/" : this.#lastHall;
  }

  /** Goes to another place. */
  go(page, id = null, query = {}) {
    const there = address(page, id, query);
    if (there === (location.hash || "#/")) return;
    location.hash = there;
  }

  /** Changes parts of this place's query without a step in the history; null takes a part away. */
  set(parts) {
    for (const [key, value] of Object.entries(parts)) {
      if (value) this.query.set(key, value);
      else this.query.delete(key);
    }
    history.replaceState(null, "", address(this.page, this.id, this.query));
    this.#tell("query");
  }

  #moved() {
    const before = this.page;
    const there = parse(location.hash);
    if (before === "hall" && there.page !== "hall") this.#lastHall = address("hall", null, this.query);
    Object.assign(this, there);
    this.#tell(before === this.page ? "query" : "page");
  }

  #tell(kind) {
    this.dispatchEvent(new CustomEvent(kind));
  }
}
