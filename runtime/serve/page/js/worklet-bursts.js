/**
 * Finds where bursts of a 1 kHz tone begin, to the sample: the first loud sample after quiet, where what follows it for
 * 10 ms is mostly that tone.
 * @module
 */

const TONE_HZ = 1000;
const LOUD = 0.05;
const QUIET_S = 0.03;
const LOOK_S = 0.01;
const TONE_SHARE = 0.5;

class Bursts extends AudioWorkletProcessor {
  constructor() {
    super();
    this.step = (2 * Math.PI * TONE_HZ) / sampleRate;
    this.quiet = 0; // samples since the last loud one
    this.onset = -1;
  }

  process(inputs) {
    const sound = inputs[0][0];
    for (let i = 0; sound && i < sound.length; i += 1) this.hear(sound[i], currentFrame + i);
    return true;
  }

  hear(value, at) {
    const loud = Math.abs(value) > LOUD;
    if (this.onset < 0 && loud && this.quiet > QUIET_S * sampleRate) {
      this.onset = at;
      this.cosine = this.sine = this.power = 0;
    }
    this.quiet = loud ? 0 : this.quiet + 1;
    if (this.onset < 0) return;
    const count = at - this.onset;
    this.cosine += value * Math.cos(this.step * count);
    this.sine += value * Math.sin(this.step * count);
    this.power += value * value;
    if (count < LOOK_S * sampleRate) return;
    // Of a pure tone the projection holds half the samples times its power.
    const share = (2 * (this.cosine ** 2 + this.sine ** 2)) / (this.power * (count + 1));
    if (share > TONE_SHARE) this.port.postMessage(this.onset / sampleRate);
    this.onset = -1;
  }
}

registerProcessor("bursts", Bursts);
