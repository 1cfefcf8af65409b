// A sound for a new critical alarm, for those who want one: off until somebody switches it on at this screen.
// Lives here: the choice, and when it sounds. Not here: what is critical.

import { attr, text } from "./dom.js";
import { unacknowledged } from "./store.js";

const KEY = "dcim.sound";
const TONES_HZ = [880, 660, 880];
const TONE_S = 0.18;

/** Sounds for every critical alarm that begins while the page is open. button: switches it. */
export class Sound {
  #known = null;
  #device = null;

  constructor(store, button) {
    this.button = button;
    button.addEventListener("click", () => this.#switch());
    store.addEventListener("alarms", () => store.alarmsKnown && this.#heard(store.standing));
    this.#show();
  }

  get on() {
    return localStorage.getItem(KEY) === "on";
  }

  #switch() {
    localStorage.setItem(KEY, this.on ? "off" : "on");
    this.#show();
    if (this.on) this.#play(); // one hears what one has chosen; a browser also wants a press before any sound
  }

  #show() {
    const words = this.on ? "Sound for new critical alarms: on" : "Sound for new critical alarms: off";
    text(this.button, "♪");
    attr(this.button, "title", words);
    attr(this.button, "aria-label", words);
    attr(this.button, "aria-pressed", String(this.on));
  }

  // The same alarm sounds anew when it comes back after it had gone.
  #heard(standing) {
    const critical = new Set(
      standing.filter((alarm) => alarm.priority === 1 && unacknowledged(alarm)).map((alarm) => `${alarm.id} ${alarm.since}`),
    );
    const fresh = this.#known && [...critical].some((id) => !this.#known.has(id));
    this.#known = critical;
    if (fresh && this.on) this.#play();
  }

  #play() {
    this.#device ??= new AudioContext();
    this.#device.resume();
    const start = this.#device.currentTime + 0.05;
    TONES_HZ.forEach((hertz, i) => {
      const tone = this.#device.createOscillator();
      const level = this.#device.createGain();
      level.gain.value = 0.15;
      tone.frequency.value = hertz;
      tone.connect(level).connect(this.#device.destination);
      tone.start(start + i * TONE_S);
      tone.stop(start + (i + 0.8) * TONE_S);
    });
  }
}
