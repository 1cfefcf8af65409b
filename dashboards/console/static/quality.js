// Data quality: what became of everything that each source sent, and how much of what is expected is fresh.
// Lives here: the page. Not here: how it is counted (the service's ledger).

import { get } from "./api.js";
import { attr, el, keyed, text } from "./dom.js";
import { many, number, share, time, age } from "./format.js";
import { words } from "./names.js";
import { since } from "./clock.js";
import { link } from "./sources.js";

const REFRESH_MS = 5_000;
const STALE_SHOWN = 40;
const REJECTS_SHOWN = 20;

export class Quality {
  #store;
  #isStale;
  #asked = -Infinity;

  constructor(store, isStale) {
    this.#store = store;
    this.#isStale = isStale;
    this.coverage = el("span.sub");
    this.word = el("p.sub", { role: "status" }, "Asking for the ledger.");
    this.warnings = el("ul.card.warnings", { hidden: true });
    this.sources = el("div.ledger");
    this.kept = el("section.card.drawer", { hidden: true }, el("h2", {}, "Store"), el("div.sub"), el("dl.facts"));
    this.stale = el("p.sub");
    this.nodes = [
      el("div.row.spread", {}, el("h1", {}, "Data quality"), this.coverage),
      this.word,
      this.warnings,
      this.sources,
      this.kept,
      el("section.card", {}, el("h2", {}, "Stale racks"), this.stale),
    ];
  }

  /** Shows coverage and stale racks as they are now. */
  update() {
    const { coverage, racks } = this.#store;
    text(
      this.coverage,
      coverage
        ? `${number(coverage.fresh, 0)} of ${many(coverage.expected, "point")} fresh (${share(coverage.fresh, coverage.expected)})${coverage.oldest_s == null ? "" : `, oldest ${age(coverage.oldest_s)}`}`
        : "",
    );
    const stale = [...racks.values()].filter((rack) => this.#isStale(rack)).map((rack) => rack.name);
    const more = stale.length - STALE_SHOWN;
    text(
      this.stale,
      stale.length
        ? `${stale.slice(0, STALE_SHOWN).join(", ")}${more > 0 ? ` and ${many(more, "more rack")}` : ""}.`
        : racks.size
          ? "None: every rack is heard in time."
          : "No rack is known yet.",
    );
  }

  /** Asks again every few seconds while the page is shown. */
  async beat() {
    if (performance.now() - this.#asked < REFRESH_MS) return;
    this.#asked = performance.now();
    this.update();
    try {
      const { items, store, warnings = [], unwatched = 0 } = await get("/ledger");
      text(this.word, items.length ? "" : "No source is configured.");
      const behind =
        unwatched && `${many(unwatched, "reading")} kept, but not seen by the detectors: they were behind.`;
      const told = [...warnings, behind].filter(Boolean);
      this.warnings.hidden = !told.length;
      keyed(
        this.warnings,
        told,
        (line) => line,
        (line) => el("li", {}, line),
      );
      keyed(
        this.sources,
        items,
        (s) => s.source,
        (s) => card(s),
        patch,
      );
      keptWhere(this.kept, store);
    } catch (problem) {
      text(this.word, `${this.sources.childElementCount ? "The figures below are old. " : ""}${problem.message}`);
    }
    this.word.hidden = !this.word.textContent;
    attr(this.sources, "class", this.word.textContent && this.sources.childElementCount ? "ledger stale" : "ledger");
  }

  /** Asks at once when it is next shown. */
  rest() {
    this.#asked = -Infinity;
  }
}

function card(source) {
  const node = el(
    "section.card.drawer",
    {},
    el(
      "div.row.spread",
      {},
      el("h2", {}, source.source, el("span.mut")),
      el("span.sub"),
    ),
    el("div.sum"),
    el("div.sub"),
    el("div.shares"),
    el("div.sub"),
    el("div.counts"),
    rejects(source.source),
  );
  return node;
}

// The two sides of an account, term by term.
function terms(node, of) {
  keyed(
    node,
    [
      ["received", of.received, ""],
      ...(of.carried ? [["carried over", of.carried, "+"]] : []),
      ["stored", of.stored, "="],
      ["duplicate", of.duplicate, "+"],
      ["rejected", of.rejected, "+"],
      ["pending", of.pending, "+"],
    ],
    ([name]) => name,
    ([name, , sign]) => el("span", {}, sign ? `${sign} ` : "", el("b"), ` ${name}`),
    (term, [, count]) => text(term.querySelector("b"), number(count, 0)),
  );
}

function patch(node, source) {
  const [head, sum, verdict, shares, pace, counts] = node.children;
  const codecs = Object.entries(source.codecs).filter(([codec, of]) => codec && of.received + of.carried);
  text(head.children[0].lastChild, codecs.length ? ` · ${codecs.map(([codec]) => codec).join(", ")}` : "");
  text(head.children[1], `${source.configured ? link(source) : "no longer configured"} · counted since `);
  head.children[1].append(time(source.since));
  terms(sum, source);
  keyed(
    shares,
    codecs.length > 1 ? codecs : [],
    ([codec]) => codec,
    ([codec]) => el("div.row", {}, el("span.mut", {}, codec), el("div.sum.sub")),
    (row, [, of]) => terms(row.lastChild, of),
  );
  text(pace, paceSentence(source.pace));
  text(
    verdict,
    source.balanced
      ? `Balanced, from ${many(source.messages, "message")}.`
      : `≠ Off by ${number(source.balance, 0)}: items are unaccounted for. This is a defect of the service; please report it.`,
  );
  counts.nextElementSibling.hidden = !source.rejected;
  keyed(
    counts,
    [
      ["Received", Object.fromEntries(Object.entries(source.kinds).map(([kind, counted]) => [kind, counted.received]))],
      ["Rejected, by reason", source.reasons],
      ["Kept with a remark", source.remarks],
      ["Connection faults", source.faults],
    ],
    ([name]) => name,
    ([name]) => el("div", {}, el("h3", {}, name), el("dl.facts")),
    (part, [, of]) => {
      const rows = Object.entries(of).filter(([, n]) => n);
      keyed(
        part.children[1],
        rows.length
          ? rows.flatMap(([code, n]) => [
              ["dt", code, words(code)],
              ["dd", `${code} count`, number(n, 0)],
            ])
          : [
              ["dt", "none", "none"],
              ["dd", "none count", ""],
            ],
        (row) => row[1],
        ([tag, code]) => el(tag, tag === "dt" ? { title: code } : {}),
        (cell, row) => text(cell, row[2]),
      );
    },
  );
}

function paceSentence({ lag, ahead_s, durable }) {
  const told = (what, of) =>
    of && `${what} ${span(of.p50_s)} (99 of 100 within ${span(of.p99_s)}, at most ${span(of.max_s)})`;
  const ahead = ahead_s >= 1 && `values up to ${span(ahead_s)} ahead of our clock`;
  return [told("Last minute: lag", lag), told("durable after", durable), ahead].filter(Boolean).join("; ");
}

function span(seconds) {
  return seconds < 0.9995 ? `${Math.round(seconds * 1000)} ms` : age(seconds);
}

// Where it is made durable: what is in the way, and what a server behind the store does not have yet.
function keptWhere(node, { trouble, trouble_since, backlog: of }) {
  node.hidden = !trouble && !of;
  const [, word, facts] = node.children;
  text(word, trouble ? `Nothing is acknowledged for ${age(since(trouble_since))}: ${trouble}` : (of?.trouble ?? ""));
  const rows = of
    ? [
        ["Waiting for the server", many(of.waiting, "reading")],
        ["Spool", `${megabytes(of.bytes)} of ${megabytes(of.bytes_max)} (${share(of.bytes, of.bytes_max)})`],
        ["Oldest waiting", age(of.oldest_s)],
        ["Forwarded since the start", number(of.forwarded, 0)],
        ...Object.entries(of.dead_lettered).map(([reason, n]) => [`Dead letters: ${words(reason)}`, number(n, 0)]),
        ...(of.damaged ? [["Records lost by the disk", number(of.damaged, 0)]] : []),
      ].flatMap(([name, value]) => [
        ["dt", name, name],
        ["dd", `${name} value`, value],
      ])
    : [];
  keyed(
    facts,
    rows,
    (row) => row[1],
    ([tag]) => el(tag),
    (cell, row) => text(cell, row[2]),
  );
}

function megabytes(bytes) {
  return `${number(bytes / 1e6)} MB`;
}

// The last items that were put aside, on request.
function rejects(source) {
  const list = el("ul.log");
  const word = el("p.sub");
  const ask = async () => {
    if (!node.open) return;
    try {
      const kept = (await get(`/ledger/${encodeURIComponent(source)}/rejects`)).slice(-REJECTS_SHOWN).reverse();
      text(word, kept.length ? "The latest first; topic and payload are their first bytes." : "None is kept any more.");
      list.replaceChildren(
        ...kept.map((reject) =>
          el(
            "li",
            {},
            time(reject.received),
            ` ${words(reject.reason)}: ${reject.detail}`,
            el("div.raw", {}, reject.topic),
            el("div.raw", {}, reject.payload),
          ),
        ),
      );
    } catch (problem) {
      text(word, problem.message);
    }
  };
  const node = el("details", { toggle: ask }, el("summary.sub", {}, "Last rejects"), word, list);
  return node;
}
