/**
 * Picture and sound by WebRTC: one offer, one answer, H.264 preferred; the browser keeps both in step.
 * The offer has a place for a microphone from the start, so that switching it on needs no other offer.
 * @module
 */
import { request, sessionPath } from "./api.js";
import { ARRIVAL_DRIFT_MS } from "./transport-ws.js";

const CONNECT_MS = 4000;
const GATHER_MS = 1000;
// A connection that is lost for so long is given up.
const LOST_MS = 3000;
// The sound's buffer grows with jitter and pictures do not follow by themselves: how often they are told to, and how
// far at most.
const PAIR_MS = 400;
const MOST_BUFFER_MS = 400;
// How long after it was asked for last the pictures' arrival is followed.
const ASKED_MS = 3000;
const RTP_WRAP = 2 ** 32;
const RTP_MS = 90;
// What the server keeps sound for, to send it evenly, and the sound card's buffer: neither shows in the sound's statistics.
const UNSEEN_MS = 55;

/** @implements {import("./transport.js").Transport} */
export class WebRtcTransport {
  kind = /** @type {const} */ ("webrtc");
  #seen = 0; // pictures of which the browser has told
  #presented = 0; // pictures, when the browser told last
  #asked = -Infinity; // when somebody wanted to know when pictures arrive
  #watching = false;
  #closed = false;
  #waited = [0, 0]; // seconds that samples have waited, and how many, when looked at last
  #abort = new AbortController();
  #rtp = null; // of the picture that is shown
  #time = 0; // its RTP time since the first, milliseconds
  #least = Infinity; // arrival less that time, of the picture that came fastest
  tick = null;

  /** @param {import("./transport.js").Context} context */
  constructor(context) {
    this.context = context;
    this.element = document.createElement("video");
    Object.assign(this.element, { autoplay: true, playsInline: true, muted: !this.#audible, disablePictureInPicture: true });
    this.element.className = "layer";
    this.stream = new MediaStream();
  }

  async start() {
    if (!("RTCPeerConnection" in window)) throw new Error("this browser has no WebRTC");
    const connection = new RTCPeerConnection({ iceServers: this.context.iceServers });
    this.connection = connection;
    this.voice = connection.addTransceiver("audio", { direction: "sendrecv" });
    this.pictures = connection.addTransceiver("video", { direction: "recvonly" });
    preferH264(this.pictures);
    connection.ontrack = (event) => this.stream.addTrack(event.track);
    this.context.onElement(this.element);
    this.element.srcObject = this.stream;
    this.context.sound.addEventListener("change", this.#listen);

    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const { sdp, type } = connection.localDescription;
    const answer = await request("POST", sessionPath(this.context.session, "/offer"), { sdp, type }, this.#abort.signal);
    await connection.setRemoteDescription(answer);
    await this.#connected();
    this.#listen();
    this.#watch();
    this.pairing = setInterval(() => this.#pair(), PAIR_MS);
    if (!this.context.silent) this.context.measure?.listen(this.context.sound, new MediaStreamAudioSourceNode(this.context.sound.context, { mediaStream: this.stream }));
    connection.onconnectionstatechange = () => this.#check();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    this.context.sound.removeEventListener("change", this.#listen);
    clearTimeout(this.losing);
    clearInterval(this.pairing);
    this.connection?.close();
    this.element.pause();
  }

  /** @param {MediaStreamTrack | null} track */
  async setMicrophone(track) {
    await this.voice.sender.replaceTrack(track);
    return true;
  }

  /** @returns {Promise<import("./transport.js").TransportStats>} */
  async stats() {
    const all = this.connection && !this.#closed ? [...(await this.connection.getStats()).values()] : [];
    const of = (kind) => all.find((each) => each.type === "inbound-rtp" && each.kind === kind) ?? {};
    const [video, audio] = [of("video"), of("audio")];
    const pair = all.find((each) => each.type === "candidate-pair" && each.nominated && each.state === "succeeded");
    const mean = (sum, count) => (count ? (1000 * sum) / count : null);
    const both = video.estimatedPlayoutTimestamp && audio.estimatedPlayoutTimestamp;
    return {
      shown: this.#shown,
      decoded: video.framesDecoded ?? 0,
      dropped: { decoder: video.framesDropped ?? 0, "lost packets": video.packetsLost ?? 0, freezes: video.freezeCount ?? 0 },
      avOffsetMs: both ? audio.estimatedPlayoutTimestamp - video.estimatedPlayoutTimestamp - UNSEEN_MS : null,
      jitterBufferMs: mean(video.jitterBufferDelay, video.jitterBufferEmittedCount),
      soundBufferMs: mean(audio.jitterBufferDelay, audio.jitterBufferEmittedCount),
      decodeMs: mean(video.totalDecodeTime, video.framesDecoded),
      roundTripMs: pair?.currentRoundTripTime === undefined ? null : 1000 * pair.currentRoundTripTime,
    };
  }

  /** Pictures shown. Firefox counts none, but says so with a picture: one is asked for each time, for the next. */
  get #shown() {
    if (this.context.measure) return this.#seen;
    const { totalVideoFrames, droppedVideoFrames } = this.element.getVideoPlaybackQuality();
    if (totalVideoFrames) return totalVideoFrames - droppedVideoFrames;
    if (!this.#watching && this.#seen) this.#watch();
    return this.#presented;
  }

  /** Unknown in browsers that do not say when a picture came, or of what RTP time it is; and when nobody asked lately. */
  get arrival() {
    this.#asked = performance.now();
    if (!this.#watching && this.#seen) {
      [this.#rtp, this.#time, this.#least] = [null, 0, Infinity];
      this.#watch();
    }
    return this.#rtp === null ? null : this.#time + this.#least;
  }

  /** @param {VideoFrameCallbackMetadata} frame that is shown */
  #date({ rtpTimestamp, receiveTime }) {
    if (rtpTimestamp === undefined || receiveTime === undefined) return;
    const since = this.#rtp === null ? 0 : (rtpTimestamp - this.#rtp + RTP_WRAP) % RTP_WRAP;
    this.#time += (since > RTP_WRAP / 2 ? since - RTP_WRAP : since) / RTP_MS;
    this.#rtp = rtpTimestamp;
    // It follows slowly upwards, as that of a WebSocket does.
    this.#least = Math.min(receiveTime - this.#time, this.#least + ARRIVAL_DRIFT_MS);
  }

  get #audible() {
    return this.context.sound.audible && !this.context.silent;
  }

  // Sound comes from the element, so that the browser keeps it in step with the picture.
  #listen = () => {
    this.element.muted = !this.#audible;
    this.element.play().catch(() => {
      this.element.muted = true;
      this.element.play().catch(() => undefined);
    });
  };

  /** Follow the pictures: to the first, and on where somebody wants to know. Each that the browser tells of is a round
   * of the page's main thread, which costs it more than showing it. */
  #watch() {
    this.#watching = true;
    const next = (now, frame) => {
      if (this.#closed) return;
      this.#seen += 1;
      this.#presented = frame.presentedFrames;
      this.#date(frame);
      if (this.#seen === 1) this.context.onFirst();
      this.context.measure?.picture(this.element, Math.max(now, frame.expectedDisplayTime));
      this.#watching = Boolean(this.context.measure) || performance.now() - this.#asked < ASKED_MS;
      if (this.#watching) this.element.requestVideoFrameCallback(next);
    };
    this.element.requestVideoFrameCallback(next);
  }

  /** Hold pictures back for as long as sound waits. */
  async #pair() {
    const stats = [...(await this.voice.receiver.getStats()).values()].find((each) => each.type === "inbound-rtp");
    const [delay, count] = [stats?.jitterBufferDelay ?? 0, stats?.jitterBufferEmittedCount ?? 0];
    const [delayBefore, countBefore] = this.#waited;
    this.#waited = [delay, count];
    if (!countBefore || count === countBefore) return;
    const waits = (1000 * (delay - delayBefore)) / (count - countBefore);
    if (!this.#closed) this.pictures.receiver.jitterBufferTarget = Math.min(Math.max(waits, 0) + UNSEEN_MS, MOST_BUFFER_MS);
  }

  #connected() {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error("WebRTC could not connect")), CONNECT_MS);
      const look = () => {
        const state = this.connection.connectionState;
        if (state === "connected") resolve(clearTimeout(late));
        if (state === "failed" || state === "closed") reject(new Error("WebRTC could not connect"), clearTimeout(late));
      };
      this.connection.onconnectionstatechange = look;
      this.#abort.signal.addEventListener("abort", () => reject(new Error("closed")));
      look();
    });
  }

  #check() {
    clearTimeout(this.losing);
    const state = this.connection.connectionState;
    if (state === "failed" || state === "closed") this.#lost();
    if (state === "disconnected") this.losing = setTimeout(() => this.#lost(), LOST_MS);
  }

  #lost() {
    if (this.#closed) return;
    this.close();
    this.context.onLost("the connection broke off");
  }
}

/** @param {RTCRtpTransceiver} transceiver */
function preferH264(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
  const rank = (codec) => (codec.mimeType !== "video/H264" ? 2 : /packetization-mode=1/.test(codec.sdpFmtpLine) ? 0 : 1);
  if (codecs.length) transceiver.setCodecPreferences?.(codecs.toSorted((a, b) => rank(a) - rank(b)));
}

/** @param {RTCPeerConnection} connection @returns {Promise<void>} when its candidates are in its description */
function gathered(connection) {
  return new Promise((resolve) => {
    const late = setTimeout(resolve, GATHER_MS);
    const look = () => connection.iceGatheringState === "complete" && resolve(clearTimeout(late));
    connection.onicegatheringstatechange = look;
    look();
  });
}
