/**
 * For measurements (`?measure=1`): the number that the server paints into each picture (runtime/live/counter.py), and
 * bursts of a 1 kHz tone in the sound, each with the time at which it is seen or heard.
 * @module
 */

const BITS = 24;
const SQUARE = 8;
const SQUARES = BITS + 3;
const MOST = 200_000;

/** Lists grow to 200,000 entries, then forget their older half. */
export class Measure {
  /** @type {[number, number][]} milliseconds of the session that a picture shows, `performance.now()` when it is seen */
  counters = [];
  /** @type {number[]} `performance.now()` when each burst is heard */
  bursts = [];
  #paper = new OffscreenCanvas(SQUARES * SQUARE, SQUARE).getContext("2d", { willReadFrequently: true });

  /**
   * Read a picture's number.
   * @param {HTMLVideoElement | VideoFrame} picture
   * @param {number} seenAt milliseconds of `performance.now()`
   */
  async picture(picture, seenAt) {
    const counter = read(...("VideoFrame" in window ? await this.#copied(picture) : this.#drawn(picture)));
    if (counter !== null) push(this.counters, [counter, seenAt]);
  }

  /** Copy two rows of the decoder's own planes, where the browser gives them: drawing converts the whole picture. */
  async #copied(picture) {
    const frame = picture instanceof VideoFrame ? picture.clone() : new VideoFrame(picture);
    try {
      const planar = /^(I4|NV)/.test(frame.format ?? "");
      if (!planar || frame.displayWidth < SQUARES * SQUARE) return this.#drawn(frame);
      const rect = { x: 0, y: SQUARE / 2, width: SQUARES * SQUARE, height: 2 };
      const rows = new Uint8Array(frame.allocationSize({ rect }));
      const [{ offset }] = await frame.copyTo(rows, { rect });
      return [rows.subarray(offset), 1];
    } finally {
      frame.close();
    }
  }

  #drawn(picture) {
    const [width, height] = [SQUARES * SQUARE, SQUARE];
    this.#paper.drawImage(picture, 0, 0, width, height, 0, 0, width, height);
    return [this.#paper.getImageData(0, SQUARE / 2, width, 1).data, 4];
  }

  /**
   * Listen for bursts.
   * @param {import("./sound.js").Sound} sound
   * @param {AudioNode} source
   */
  async listen(sound, source) {
    await sound.context.audioWorklet.addModule(new URL("worklet-bursts.js", import.meta.url));
    const bursts = new AudioWorkletNode(sound.context, "bursts", { numberOfOutputs: 0 });
    bursts.port.onmessage = ({ data }) => push(this.bursts, sound.heardAt(data));
    source.connect(bursts);
  }
}

/** @param {Uint8Array | Uint8ClampedArray} row of grey pixels @param {number} step bytes of one @returns {number | null} */
function read(row, step) {
  const bits = Array.from({ length: SQUARES }, (_, index) => (row[step * (index * SQUARE + SQUARE / 2)] > 127 ? 1 : 0));
  const number = bits.slice(2, -1);
  const odd = number.reduce((sum, bit) => sum + bit, 0) % 2;
  if (!bits[0] || bits[1] || odd !== bits.at(-1)) return null;
  return number.reduce((value, bit, place) => value + bit * 2 ** place, 0);
}

/** @template T @param {T[]} list @param {T} value */
function push(list, value) {
  list.push(value);
  if (list.length > MOST) list.splice(0, MOST / 2);
}
