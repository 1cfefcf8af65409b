// The connection: the event stream while it lives, asking every few seconds while it does not. Lives here: when the
// stream counts as lost, when it is tried again, what is fetched then. Not here: what the answers mean (store.js).
//
// One beat a second drives it; time is only compared here, never waited for.

import { all, get } from "./api.js";
import * as clock from "./clock.js";

const SILENCE_MS = 5_000; // five pulses missed
const POLL_MS = 5_000;
const BACK_OFF_MS = [1_000, 2_000, 4_000, 8_000];

export class Link extends EventTarget {
  /** "waiting" until the first data, then "live" or "lost". */
  state = "waiting";
  /** Why the last request failed; null after one that worked. */
  problem = null;

  #store;
  #source = null;
  #opened = -Infinity;
  #retryAt = 0;
  #failures = 0;
  #pulse = { mono: performance.now(), wall: Date.now() };
  #polled = 0;
  #answered = null;
  #loading = null;
  #again = false;
  #ahead = [];
  #fresh = false;

  constructor(store) {
    super();
    this.#store = store;
  }

  /** Seconds since the last pulse. The wall clock is asked too: the other one stands still while a machine sleeps. */
  silence() {
    return Math.max(performance.now() - this.#pulse.mono, Date.now() - this.#pulse.wall) / 1000;
  }

  /** Seconds since the hall was last heard by any way; null: never. */
  newest() {
    const asked = this.#answered === null ? Infinity : (performance.now() - this.#answered) / 1000;
    return this.#store.at === null ? null : Math.min(this.silence(), asked);
  }

  /** Whether what is on the screen may still be believed: heard by some way within the stale limit. */
  trusted() {
    const newest = this.newest();
    return newest === null || newest <= (this.#store.staleAfter ?? 60);
  }

  /** Once a second, and when the page comes back into view. */
  beat() {
    const now = performance.now();
    const silent = this.silence() * 1000 > SILENCE_MS;
    if (silent && this.#source && now - this.#opened > SILENCE_MS) this.#drop();
    if (!this.#source && now >= this.#retryAt) this.#open();
    if (silent && this.state !== "lost" && (this.state === "live" || this.#store.at !== null)) this.#become("lost");
    if (this.state !== "live" && now - this.#polled >= POLL_MS && !document.hidden) this.#poll();
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    if (state === "lost") this.#fresh = false;
    this.dispatchEvent(new CustomEvent("state"));
  }

  #open() {
    const source = new EventSource("/api/v1/stream?include=alarms,hall");
    const on = (name, take) =>
      source.addEventListener(name, (event) => source === this.#source && take(JSON.parse(event.data)));
    this.#source = source;
    this.#opened = performance.now();
    on("hello", (data) => this.#greet(data));
    on("pulse", (data) => this.#alive(clock.hear(data.at)));
    on("alarms", (data) => this.#store.takeAlarms(data.items));
    on("alarm", (data) => this.#store.takeAlarm(data));
    on("hall", (data) => this.#news(data));
    on("plant", () => this.#renew());
    on("lost", () => this.#drop()); // we read too slowly and missed events: begin anew
    source.addEventListener("error", () => source === this.#source && this.#drop());
  }

  // A broken or dumb stream is closed and opened anew by us: a browser does not notice a line that went dead.
  #drop() {
    this.#source.close();
    this.#source = null;
    this.#retryAt =
      performance.now() + BACK_OFF_MS[Math.min(this.#failures, BACK_OFF_MS.length - 1)] * (0.75 + Math.random() / 2);
    this.#failures += 1;
  }

  #greet(data) {
    this.#failures = 0;
    this.#alive(clock.hear(data.at));
    this.#renew();
  }

  // What is shown counts as old until the hall has been fetched again.
  #renew() {
    this.#fresh = false;
    this.#load();
  }

  #alive(late) {
    if (late > SILENCE_MS) return; // held back on the way: what it brings is old
    this.#pulse = { mono: performance.now(), wall: Date.now() };
    if (this.#fresh) this.#become("live");
  }

  #news(event) {
    clock.hear(event.at);
    if (this.#loading) this.#ahead.push(event);
    else if (this.#store.at !== null && !this.#store.patchHall(event)) this.#renew();
  }

  // Fetches the whole hall. Changes that the stream tells meanwhile are kept and applied on top of the answer.
  #load() {
    this.#again = this.#loading !== null;
    this.#loading ??= this.#fetch().finally(() => {
      this.#loading = null;
      this.#ahead = [];
      if (this.#again) this.#load();
    });
    return this.#loading;
  }

  async #fetch() {
    try {
      const hall = await get("/hall");
      clock.hear(hall.at, true);
      this.#answered = performance.now();
      this.problem = null;
      this.#store.takeHall(hall);
      for (const event of this.#ahead) if (Date.parse(event.at) > this.#store.at) this.#store.patchHall(event);
      this.#fresh = true;
      if (this.silence() * 1000 <= SILENCE_MS && this.#source) this.#become("live");
    } catch (problem) {
      this.problem = problem;
      if (!this.#fresh && this.#store.at !== null) this.#become("lost");
    }
    this.dispatchEvent(new CustomEvent("answer"));
  }

  async #poll() {
    this.#polled = performance.now();
    await this.#load();
    if (this.problem || this.state === "live") return;
    try {
      const items = await all("/alarms");
      if (this.state !== "live") this.#store.takeAlarms(items);
    } catch (problem) {
      this.problem = problem;
      this.dispatchEvent(new CustomEvent("answer"));
    }
  }
}
