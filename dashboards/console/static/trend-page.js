// The trend of any points over any range: `#/trend?point=12,13&span=24h`. Lives here: the page. Not here: the chart.

import { Chart } from "./chart.js";
import { el } from "./dom.js";

const POINTS_MAX = 12;

export class TrendPage {
  #route;

  constructor({ store, route }) {
    this.#route = route;
    this.chart = new Chart(store, route, "trend");
    this.nodes = [
      el("div.row.spread", {}, el("h1", {}, "Trend"), el("span.sub", {}, "Points are chosen where they are listed: at a rack, a CDU, an alarm’s evidence.")),
      this.chart.root,
    ];
  }

  place() {
    return "Trend";
  }

  update() {
    const said = (this.#route.query.get("point") ?? "").split(",").filter((one) => /^\d{1,9}$/.test(one));
    this.chart.show([...new Set(said)].slice(0, POINTS_MAX));
  }

  beat() {
    this.chart.beat();
  }
}
