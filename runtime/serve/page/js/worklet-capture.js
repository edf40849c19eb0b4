/**
 * The microphone's sound as int16 pieces of 20 ms.
 * @module
 */

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 50));
    this.count = 0;
    this.closed = false;
    this.port.onmessage = () => (this.closed = true);
  }

  process(inputs) {
    const sound = inputs[0][0];
    for (let i = 0; sound && i < sound.length; i += 1) {
      this.piece[this.count] = Math.max(-1, Math.min(1, sound[i])) * 32767;
      this.count += 1;
      if (this.count === this.piece.length) {
        const { buffer } = this.piece.slice();
        this.port.postMessage(buffer, [buffer]);
        this.count = 0;
      }
    }
    return !this.closed;
  }
}

registerProcessor("capture", Capture);
