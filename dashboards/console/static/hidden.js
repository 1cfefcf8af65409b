// What the design hides: alarms that another one explains, or that a maintenance window covers. The stream does not bring
// them, so they are asked for. Lives here: when. Not here: what is shown of them (map.js, alarm-table.js).

import { get } from "./api.js";

const EVERY_MS = 10_000;
const MOST = 500;

export class Hidden {
  #store;
  #asked = -Infinity;

  constructor(store) {
    this.#store = store;
  }

  /** Once a second. wanted: asks also where nothing is known to be hidden. */
  async beat(wanted) {
    const { masked, hidden } = this.#store;
    if (document.hidden || performance.now() - this.#asked < EVERY_MS || !(wanted || masked || hidden?.length)) return;
    this.#asked = performance.now();
    try {
      this.#store.takeHidden((await get(`/alarms?state=suppressed&limit=${MOST}`)).items);
    } catch (problem) {
      this.#store.takeHidden(null, `What is masked could not be asked for. ${problem.message}`);
    }
  }
}
