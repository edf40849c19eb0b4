/**
 * Plays pieces of sound {tick, pcm: int16 at 48 kHz} and tells which tick is played when. What waits is held near a
 * target: by playing half a per cent faster or slower, by a jump where it is far too much, by a pause where it is dry.
 * @module
 */

const MARGIN_MS = 30;
const MOST_TARGET_MS = 250;
const JUMP_MS = 150;
// Of the smoothed level, in which the arriving pieces are a saw tooth.
const SMOOTHING = 1 / 400;
const DEAD_BAND_MS = 12;
const MOST_RATE = 0.005;
const REPORT_BLOCKS = 8;

class Playback extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.piece = options.processorOptions.pieceMs * 48;
    this.target = this.piece + MARGIN_MS * 48;
    this.pieces = [];
    this.position = 0; // in the first piece, with a fraction
    this.level = 0; // samples that wait
    this.smooth = this.target - this.piece / 2;
    this.playing = false;
    this.blocks = 0;
    this.closed = false;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(data) {
    if (data === "close") return void (this.closed = true);
    const pcm = new Int16Array(data.pcm);
    if (!pcm.length) return;
    this.pieces.push({ tick: data.tick, pcm });
    this.level += pcm.length;
    if (this.level > this.target + this.piece + JUMP_MS * 48) {
      while (this.level > this.target && this.pieces.length > 1) this.drop();
      this.smooth = this.target - this.piece / 2;
    }
  }

  drop() {
    this.level -= this.pieces.shift().pcm.length - this.position;
    this.position = 0;
  }

  process(inputs, outputs) {
    const out = outputs[0][0];
    if (!this.playing && this.level >= this.target) this.playing = true;
    const start = this.pieces.length ? this.pieces[0].tick + this.position : this.last;
    if (this.playing) this.play(out);
    this.blocks += 1;
    if (this.blocks % REPORT_BLOCKS === 0 && start !== undefined) {
      this.port.postMessage({ tick: start, time: currentTime, playing: this.playing, level: this.level });
    }
    return !this.closed;
  }

  play(out) {
    this.smooth += SMOOTHING * (this.level - this.smooth);
    const over = this.smooth - (this.target - this.piece / 2);
    const rate = Math.abs(over) < DEAD_BAND_MS * 48 ? 1 : 1 + Math.max(-MOST_RATE, Math.min(MOST_RATE, over / 48000));
    for (let i = 0; i < out.length; i += 1) {
      const piece = this.pieces[0];
      if (!piece) {
        this.playing = false;
        this.target = Math.min(this.target + 10 * 48, MOST_TARGET_MS * 48);
        return;
      }
      const whole = Math.floor(this.position);
      const share = this.position - whole;
      const now = piece.pcm[whole];
      const next = whole + 1 < piece.pcm.length ? piece.pcm[whole + 1] : (this.pieces[1]?.pcm[0] ?? now);
      out[i] = (now + share * (next - now)) / 32768;
      this.position += rate;
      this.level -= rate;
      this.last = piece.tick + this.position;
      if (this.position >= piece.pcm.length) {
        this.position -= piece.pcm.length;
        this.pieces.shift();
      }
    }
  }
}

registerProcessor("playback", Playback);
