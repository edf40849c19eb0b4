/**
 * Picture and sound over a WebSocket: H.264 through WebCodecs onto a canvas, PCM through an AudioWorklet. The sound's
 * clock rules: a picture is shown when its tick is heard, and one that is late is dropped.
 *
 * A message is 1 byte of kind, 8 bytes of tick (1/48000 s, little endian) and the payload.
 * @module
 */
import { address, sessionPath, socketAddress } from "./api.js";

const [CONFIG, KEY, , SOUND] = [0, 1, 2, 3];
const HEAD = 9;
const TICKS_MS = 48;
const CONNECT_MS = 5000;
// From a picture's drawing to its being seen: one refresh of the display.
const DISPLAY_MS = 1000 / 60;
// How long pictures wait behind their arrival while no sound rules.
const ARRIVAL_MS = 20;
const MOST_WAITING = 12;
// In step with another picture: how much earlier than it a packet is decoded, and how many may wait for that.
const AHEAD_MS = 100;
const MOST_EARLY = 60;
const ROUND_TRIP_EVERY_MS = 5000;
/** How much later the fastest arrival is taken to be with each that was slower. */
export const ARRIVAL_DRIFT_MS = 0.05;

/** @implements {import("./transport.js").Transport} */
export class WebSocketTransport {
  kind = /** @type {const} */ ("ws");
  #counts = { shown: 0, decoded: 0 };
  #dropped = { late: 0, "decoder behind": 0, hidden: 0 };
  #closed = false;
  /** @type {VideoFrame[]} */
  #waiting = [];
  /** @type {Map<number, number>} */
  #begun = new Map();
  #wantsKey = true;
  /** What the worklet last said: {tick, time, playing, level}. */
  #played = null;
  /** The earliest arrival of sound less its tick, milliseconds. */
  #arrival = Infinity;
  #decodeMs = null;
  #offset = null;
  #roundTrip = null;
  /** Packets that are too early to be decoded: [whether key, tick, data]. */
  #early = [];
  /** Of the picture that is shown. @type {number | null} */
  tick = null;

  /** @param {import("./transport.js").Context} context */
  constructor(context) {
    this.context = context;
    this.element = document.createElement("canvas");
    this.element.className = "layer";
    this.paper = this.element.getContext("2d", { alpha: false });
  }

  async start() {
    if (!("VideoDecoder" in window)) throw new Error("this browser has no WebCodecs here: it needs https, or localhost");
    this.context.onElement(this.element);
    if (!this.context.silent) await this.#play();
    if (this.#closed) return;
    await this.#open();
    this.#draw();
    this.#ping();
  }

  async #play() {
    const { sound } = this.context;
    await sound.context.audioWorklet.addModule(new URL("worklet-playback.js", import.meta.url));
    if (this.#closed) return;
    this.player = new AudioWorkletNode(sound.context, "playback", { numberOfInputs: 0, outputChannelCount: [1], processorOptions: { pieceMs: 1000 / this.context.fps } });
    this.player.port.onmessage = ({ data }) => (this.#played = data);
    this.player.connect(sound.output);
    this.context.measure?.listen(sound, this.player);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    cancelAnimationFrame(this.drawing);
    clearTimeout(this.pinging);
    this.socket?.close();
    this.player?.port.postMessage("close");
    this.player?.disconnect();
    if (this.decoder?.state === "configured") this.decoder.close();
    for (const frame of this.#waiting.splice(0)) frame.close();
  }

  /** The control socket carries the microphone in place of this. */
  async setMicrophone() {
    return false;
  }

  /** @returns {Promise<import("./transport.js").TransportStats>} */
  async stats() {
    return {
      ...this.#counts,
      dropped: { ...this.#dropped },
      avOffsetMs: this.#offset,
      jitterBufferMs: null,
      soundBufferMs: this.#played && !this.context.sound.blocked ? this.#played.level / TICKS_MS : null,
      decodeMs: this.#decodeMs,
      roundTripMs: this.#roundTrip,
    };
  }

  #open() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(socketAddress(sessionPath(this.context.session, "/media")));
      const late = setTimeout(() => reject(new Error("the WebSocket does not connect")), CONNECT_MS);
      this.socket = socket;
      socket.binaryType = "arraybuffer";
      socket.onopen = () => {
        if (this.context.silent) socket.send("silent");
        resolve(clearTimeout(late));
      };
      socket.onmessage = ({ data }) => !this.#closed && this.#take(data);
      socket.onclose = () => {
        clearTimeout(late);
        reject(new Error("the WebSocket was refused"));
        this.#lost("the connection broke off");
      };
    });
  }

  /** @param {ArrayBuffer} message */
  #take(message) {
    const view = new DataView(message);
    const kind = view.getUint8(0);
    const tick = Number(view.getBigUint64(1, true));
    if (kind === CONFIG) this.#configure(JSON.parse(new TextDecoder().decode(new Uint8Array(message, HEAD))));
    else if (kind === SOUND) this.#hear(tick, message.slice(HEAD));
    else this.#receive(kind === KEY, tick, new Uint8Array(message, HEAD));
  }

  /** Take a packet. In step with another picture, which may wait for its sound for long, it is not decoded much earlier
   * than shown: decoders have few pictures to give. */
  #receive(key, tick, data) {
    if (this.context.silent) this.#arrived(tick);
    this.#early.push([key, tick, data]);
    this.#ripen();
  }

  #ripen() {
    const clock = this.#elsewhere();
    const ripe = ([, tick]) => clock === null || tick <= clock + AHEAD_MS * TICKS_MS || this.#early.length > MOST_EARLY;
    while (this.#early.length && ripe(this.#early[0])) this.#decode(...this.#early.shift());
  }

  /** @param {{codec: string, width: number, height: number}} config */
  #configure({ codec, width, height }) {
    if (this.decoder?.state === "configured") this.decoder.close();
    this.decoder = new VideoDecoder({
      output: (frame) => this.#decoded(frame),
      error: (error) => this.#lost(`the picture cannot be decoded: ${error.message}`),
    });
    this.decoder.configure({ codec, codedWidth: width, codedHeight: height, optimizeForLatency: true });
  }

  /** @param {boolean} key @param {number} tick @param {Uint8Array} data */
  #decode(key, tick, data) {
    if (this.decoder?.state !== "configured") return;
    if (!key && this.#wantsKey) return void (this.#dropped["decoder behind"] += 1);
    if (!key && this.decoder.decodeQueueSize > MOST_WAITING) {
      this.#wantsKey = true;
      this.#dropped["decoder behind"] += 1;
      return this.socket.send("key");
    }
    this.#wantsKey = false;
    const timestamp = Math.round((tick * 1000) / TICKS_MS);
    this.#begun.set(timestamp, performance.now());
    this.decoder.decode(new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp, data }));
  }

  /** @param {VideoFrame} frame */
  #decoded(frame) {
    this.#counts.decoded += 1;
    const begun = this.#begun.get(frame.timestamp);
    if (begun !== undefined) {
      this.#begun.delete(frame.timestamp);
      this.#decodeMs = smoothed(this.#decodeMs, performance.now() - begun);
    }
    this.#waiting.push(frame);
    // A hidden page draws nothing: one picture is enough.
    const most = document.hidden ? 1 : MOST_WAITING;
    while (this.#waiting.length > most) {
      this.#waiting.shift().close();
      this.#dropped[document.hidden ? "hidden" : "late"] += 1;
    }
  }

  /** @param {number} tick @param {ArrayBuffer} pcm */
  #hear(tick, pcm) {
    this.#arrived(tick);
    if (!this.context.sound.blocked && this.player) this.player.port.postMessage({ tick, pcm }, [pcm]);
  }

  /** @param {number} tick of what arrives now */
  #arrived(tick) {
    const arrival = performance.now() - tick / TICKS_MS;
    // It follows slowly upwards, so that a clock that differs or a network that became slower is found again.
    this.#arrival = Math.min(arrival, this.#arrival + ARRIVAL_DRIFT_MS);
  }

  get arrival() {
    return this.tick === null ? null : this.tick / TICKS_MS + this.#arrival;
  }

  /** The tick of the picture with which it is to be in step; null: unknown. Where that came in another way, both came
   * fastest at the same tick, to half a frame. */
  #elsewhere() {
    const { tick = null, arrival = null } = this.context.lead?.() ?? {};
    if (tick !== null || arrival === null) return tick;
    return (arrival - this.#arrival + 500 / this.context.fps) * TICKS_MS;
  }

  /** @param {number} at milliseconds of `performance.now()` @returns {number} the tick that is heard then */
  #tickAt(at) {
    const elsewhere = this.#elsewhere();
    if (elsewhere !== null) return elsewhere;
    const played = this.#played;
    if (this.context.sound.blocked || !played) return (at - this.#arrival - ARRIVAL_MS) * TICKS_MS;
    const since = played.playing ? this.context.sound.timeHeard(at) - played.time : 0;
    return played.tick + since * 48000;
  }

  #draw() {
    this.drawing = requestAnimationFrame(() => {
      if (this.#closed) return;
      this.#ripen();
      this.#show();
      this.#draw();
    });
  }

  #show() {
    const seen = performance.now() + DISPLAY_MS;
    const tick = this.#tickAt(seen);
    let due = 0;
    while (due < this.#waiting.length && tickOf(this.#waiting[due]) <= tick) due += 1;
    if (due === 0) return;
    for (const late of this.#waiting.splice(0, due - 1)) {
      late.close();
      this.#dropped.late += 1;
    }
    const frame = this.#waiting.shift();
    const { displayWidth: width, displayHeight: height } = frame;
    if (this.element.width !== width || this.element.height !== height) Object.assign(this.element, { width, height });
    this.paper.drawImage(frame, 0, 0);
    this.tick = tickOf(frame);
    if (!this.context.sound.blocked && !this.context.silent) this.#offset = smoothed(this.#offset, (tick - tickOf(frame)) / TICKS_MS);
    this.context.measure?.picture(frame, seen);
    frame.close();
    this.#counts.shown += 1;
    if (this.#counts.shown === 1) this.context.onFirst();
  }

  async #ping() {
    const began = performance.now();
    const answered = await fetch(address("healthz"), { cache: "no-store" }).catch(() => null);
    if (answered) this.#roundTrip = performance.now() - began;
    if (!this.#closed) this.pinging = setTimeout(() => this.#ping(), ROUND_TRIP_EVERY_MS);
  }

  /** @param {string} reason */
  #lost(reason) {
    if (this.#closed) return;
    this.close();
    this.context.onLost(reason);
  }
}

/** @param {VideoFrame} frame @returns {number} */
const tickOf = (frame) => Math.round((frame.timestamp * TICKS_MS) / 1000);

/** @param {number | null} before @param {number} value @returns {number} */
const smoothed = (before, value) => (before === null ? value : before + 0.05 * (value - before));
