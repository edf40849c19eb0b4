/**
 * What it is given to say: a file (picked, or dropped on the face), the microphone; and how it is stopped and muted.
 * @module
 */
import { sessionPath, upload } from "./api.js";

const LEVEL_MS = 80;
/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** The dock's buttons, the drop target and the keys. */
export class Speech {
  #microphone = null;
  #uploads = new Set(); // what breaks off each file that is on its way

  /**
   * @param {import("./live.js").Live} live
   * @param {import("./sound.js").Sound} sound
   * @param {import("./stage.js").Stage} stage
   * @param {(text: string) => void} complain
   */
  constructor(live, sound, stage, complain) {
    Object.assign(this, { live, sound, stage, complain });
    get("file").addEventListener("click", () => get("pick").click());
    get("pick").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.say(target.files[0]);
      target.value = "";
    });
    get("mic").addEventListener("click", () => (this.#microphone ? this.#hush() : this.#listen()));
    get("stop").addEventListener("click", () => this.stop());
    get("mute").addEventListener("click", () => sound.setMuted(!sound.muted));
    document.addEventListener("keydown", (event) => this.#key(event));
    this.#takeDrops();
    live.addEventListener("state", ({ detail }) => this.#follow(detail));
    live.addEventListener("message", ({ detail }) => this.#hear(detail));
    this.#follow(live.state);
  }

  /** Have a file spoken. @param {File} file */
  async say(file) {
    if (!this.live.id) return this.complain("not connected yet: try again in a moment");
    this.sound.unlock();
    this.#hush();
    const sending = new AbortController();
    this.#uploads.add(sending);
    this.#follow(this.live.state);
    this.stage.sending(0);
    try {
      const { turn, seconds } = await upload(sessionPath(this.live.id, "/say"), file, (share) => this.stage.sending(share), sending.signal);
      this.stage.expect(turn, file.name, seconds);
    } catch (error) {
      if (!sending.signal.aborted) this.complain(`${file.name}: ${error.message}`);
    }
    this.#uploads.delete(sending);
    if (!this.#uploads.size) this.stage.sending(null);
    this.#follow(this.live.state);
  }

  async #listen() {
    get("mic").disabled = true;
    try {
      if (!navigator.mediaDevices) throw new Error("a microphone needs https here, or localhost");
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
      this.#microphone = { stream, ...(await this.#connect(stream)) };
      stream.getAudioTracks()[0].onended = () => this.#hush();
      showListening(true);
      this.live.listening(true);
    } catch (error) {
      const denied = error.name === "NotAllowedError";
      this.complain(denied ? "the browser does not allow the microphone: change that beside the address" : `no microphone: ${error.message}`);
    }
    get("mic").disabled = false;
  }

  /** Send the sound by the transport, or else as pieces over the control socket; and show how loud it is. */
  async #connect(stream) {
    const { context } = this.sound;
    const source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
    const level = new AnalyserNode(context, { fftSize: 2048 });
    source.connect(level);
    const meter = setInterval(() => showLevel(level), LEVEL_MS);
    const { transport } = this.live;
    if (!transport) throw new Error("not connected yet");
    if (await transport.setMicrophone(stream.getAudioTracks()[0])) {
      this.live.send({ type: "microphone", on: true });
      return { source, meter, transport };
    }
    await context.audioWorklet.addModule(new URL("worklet-capture.js", import.meta.url));
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.live.send({ type: "speak", rate: context.sampleRate, stream: true });
    capture.port.onmessage = ({ data }) => this.live.sendSound(data);
    source.connect(capture);
    return { source, meter, transport, capture };
  }

  /** Switch the microphone off. */
  #hush() {
    if (!this.#microphone) return;
    const { stream, source, meter, transport, capture } = this.#microphone;
    this.#microphone = null;
    clearInterval(meter);
    source.disconnect();
    if (capture) {
      capture.port.onmessage = null;
      capture.port.postMessage("close");
      this.live.send({ type: "end" });
    } else {
      this.live.send({ type: "microphone", on: false });
      transport.setMicrophone(null).catch(() => undefined);
    }
    for (const track of stream.getTracks()) track.stop();
    showListening(false);
    this.live.listening(false);
  }

  /** Stop whatever is said, waits to be said or is on its way. */
  stop() {
    for (const sending of this.#uploads) sending.abort();
    this.live.interrupt();
    this.#hush();
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") this.stop();
    const typing = event.target.closest?.("select, input:not([type=radio], [type=range])");
    if (event.key.toLowerCase() === "m" && !typing && !event.repeat) this.sound.setMuted(!this.sound.muted);
  }

  #follow(state) {
    const usable = ["ready", "listening", "speaking", "interrupted"].includes(state);
    for (const id of ["file", "mic"]) get(id).disabled = !usable;
    const busy = this.#uploads.size > 0 || state === "speaking" || state === "listening";
    get("stop").classList.toggle("urgent", busy);
    get("stop").setAttribute("aria-disabled", String(!busy));
    if (!usable) this.#hush();
  }

  #hear(message) {
    if (message.type === "microphone" && !message.on && this.#microphone && !this.#microphone.capture) this.#hush();
  }

  #takeDrops() {
    const hides = () => (get("drop").hidden = true);
    const files = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      get("drop").hidden = false;
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget === null && hides());
    document.addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      hides();
      if (event.dataTransfer.files[0]) this.say(event.dataTransfer.files[0]);
    });
  }
}

/** @param {boolean} on */
function showListening(on) {
  get("mic").setAttribute("aria-pressed", String(on));
  get("hint").hidden = on;
  get("headphones").hidden = !on;
}

/** @param {AnalyserNode} analyser */
function showLevel(analyser) {
  const sound = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(sound);
  const power = sound.reduce((sum, value) => sum + value * value, 0) / sound.length;
  // -60 to -10 dB is nothing to all.
  const level = Math.min(Math.max((10 * Math.log10(power + 1e-9) + 60) / 50, 0), 1);
  get("mic").style.setProperty("--level", level.toFixed(2));
}
