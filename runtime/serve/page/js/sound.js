/**
 * What may be heard: one AudioContext, the browser's autoplay rule, and the user's mute.
 * Browsers let a page sound only after a gesture; until then it is `blocked`, and the page says so.
 * @module
 */

const GESTURES = ["pointerup", "keydown", "touchend"];
// How long ago what is heard was played, to be believed.
const [EARLIEST_MS, LATEST_MS] = [100, 2000];

/** Fires `change`. */
export class Sound extends EventTarget {
  muted = false;

  constructor() {
    super();
    this.context = new AudioContext({ latencyHint: "interactive", sampleRate: 48000 });
    this.output = new GainNode(this.context);
    this.output.connect(this.context.destination);
    this.context.addEventListener("statechange", () => this.#changed());
    for (const gesture of GESTURES) addEventListener(gesture, () => this.unlock(), { capture: true });
  }

  /** Whether the browser still waits for a gesture. */
  get blocked() {
    return this.context.state !== "running";
  }

  /** Whether anything is heard. */
  get audible() {
    return !this.blocked && !this.muted;
  }

  /** Let it sound, where the browser allows it now. */
  unlock() {
    if (this.blocked) this.context.resume().catch(() => undefined);
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
    this.#changed();
  }

  /**
   * @param {number} contextTime seconds of the context's clock
   * @returns {number} when that is heard, milliseconds of `performance.now()`
   */
  heardAt(contextTime) {
    const [reference, at] = this.#heardNow();
    return at + (contextTime - reference) * 1000;
  }

  /**
   * @param {number} at milliseconds of `performance.now()`
   * @returns {number} what is heard then, seconds of the context's clock
   */
  timeHeard(at) {
    const [reference, now] = this.#heardNow();
    return reference + (at - now) / 1000;
  }

  /** @returns {[number, number]} a moment on both clocks */
  #heardNow() {
    const { contextTime, performanceTime } = this.context.getOutputTimestamp();
    const now = performance.now();
    // What is heard was played a moment ago. WebKit says, the longer it plays, the later in the future.
    const ago = now - performanceTime;
    if (contextTime && performanceTime && ago > -EARLIEST_MS && ago < LATEST_MS) return [contextTime, performanceTime];
    return [this.context.currentTime - (this.context.outputLatency || this.context.baseLatency), now];
  }

  #changed() {
    this.output.gain.value = this.muted ? 0 : 1;
    this.dispatchEvent(new Event("change"));
  }
}
