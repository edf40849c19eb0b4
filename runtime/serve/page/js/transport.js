/**
 * The two ways by which picture and sound come, behind one interface: WebRTC first, WebSocket and WebCodecs where that
 * cannot connect.
 *
 * @typedef {object} Context
 * @property {string} session its id
 * @property {RTCIceServer[]} iceServers
 * @property {number} fps of the session
 * @property {import("./sound.js").Sound} sound
 * @property {import("./measure.js").Measure | null} measure
 * @property {boolean} [silent] whether its sound is not to be heard
 * @property {() => Transport | null} [lead] what shows the picture with which this one is to be in step
 * @property {(element: HTMLElement) => void} onElement called once, with what shows the picture
 * @property {() => void} onFirst called when the first picture is shown
 * @property {(reason: string) => void} onLost called once, when it does not go on
 *
 * @typedef {object} TransportStats
 * @property {number} shown pictures, since it began
 * @property {number} decoded pictures
 * @property {Record<string, number>} dropped pictures by cause
 * @property {number | null} avOffsetMs how much earlier the sound is than the picture; below 0: later
 * @property {number | null} jitterBufferMs of pictures
 * @property {number | null} soundBufferMs
 * @property {number | null} decodeMs of a picture
 * @property {number | null} roundTripMs
 *
 * @typedef {object} Transport
 * @property {"webrtc" | "ws"} kind
 * @property {() => Promise<void>} start until it is connected
 * @property {() => void} close
 * @property {(track: MediaStreamTrack | null) => Promise<boolean>} setMicrophone whether it carries the microphone
 * @property {() => Promise<TransportStats>} stats
 * @property {HTMLVideoElement | HTMLCanvasElement} element that shows the picture
 * @property {number | null} tick of the picture that is shown, where that is known
 * @property {number | null} arrival when that picture would have come as fast as the fastest, milliseconds of
 *   `performance.now()`; by it pictures are compared that came in different ways
 * @module
 */
import { WebRtcTransport } from "./transport-webrtc.js";
import { WebSocketTransport } from "./transport-ws.js";

const KINDS = { webrtc: WebRtcTransport, ws: WebSocketTransport };

/**
 * @param {string | string[] | null} wanted `webrtc`, `ws`, or several in this order; null for what connects
 * @param {Context} context
 * @param {(transport: Transport) => boolean} begins told before each is started; false to give up
 * @returns {Promise<void>} when one is connected
 */
export async function connect(wanted, context, begins) {
  const kinds = [].concat(wanted ?? Object.keys(KINDS));
  let why = new Error(`there is no transport ${wanted}: use ws or webrtc`);
  for (const kind of kinds.filter((name) => Object.hasOwn(KINDS, name))) {
    const transport = new KINDS[kind](context);
    if (!begins(transport)) return;
    try {
      return await transport.start();
    } catch (error) {
      transport.close();
      why = error;
      // Without a server or a session the other way would fail just so.
      if ([0, 404, 410, 401].includes(error.status)) break;
    }
  }
  throw why;
}
