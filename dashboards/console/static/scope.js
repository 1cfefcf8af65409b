// The choice of a place for pages whose figures go by scope: &of=hall/demo/Hall 1. Lives here: the chooser, and the names
// of scopes. Not here: what is asked about them (power.js, gpus.js, efficiency.js).

import { el, keyed } from "./dom.js";

/** The scope of a hall as the store has it; of racks that nobody placed, their site. */
export const scopeOf = ({ site, hall }) => (hall ? `hall/${site}/${hall}` : `site/${site}`);

/** A scope for people: "asset/demo/H1-A01" → "demo · H1-A01". */
export const scopeName = (scope) => scope.split("/").slice(1).join(" · ");

/** The id of an asset in a scope, or "". */
export const assetIn = (scope) => (scope?.startsWith("asset/") ? scope.split("/").slice(2).join("/") : "");

export class ScopeChoice {
  #store;
  #route;
  #whole;

  /** whole: what the choice of nothing is called; "" where one has to be chosen. sites: whether sites can be chosen. */
  constructor(store, route, { whole = "", sites = false } = {}) {
    this.#store = store;
    this.#route = route;
    this.#whole = whole;
    this.sites = sites;
    this.root = el("select", { "aria-label": "Of what", change: () => route.set({ of: this.root.value, from: null, feed: null }) });
  }

  /** The scope of the address; without one the first that there is, or "" for all. */
  chosen() {
    return this.#route.query.get("of") || (this.#whole ? "" : (this.#known()[0] ?? ""));
  }

  #known() {
    const halls = this.#store.halls.map(scopeOf);
    const sites = this.sites ? this.#store.halls.map(({ site }) => `site/${site}`) : [];
    return [...new Set([...halls, ...sites])];
  }

  /** Shows what can be chosen; what the address names is among it, known or not. */
  update() {
    const chosen = this.chosen();
    const known = this.#known();
    const all = [...(this.#whole ? [""] : []), ...known, ...(chosen && !known.includes(chosen) ? [chosen] : [])];
    keyed(
      this.root,
      all,
      (scope) => scope,
      (scope) => el("option", { value: scope }, scope ? scopeName(scope) : this.#whole),
    );
    this.root.value = chosen;
  }
}
