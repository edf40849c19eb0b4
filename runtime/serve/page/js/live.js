/**
 * The session: opened or found again, its control socket, its transport, and what is done when one of them is lost.
 *
 * Events: `state` (detail: a State), `message` (of the control socket), `settings`, `trouble` (one line for the user),
 * `element` (what will show the picture), `first` (the element of a new connection shows), `freeze` (it is about to go).
 * @typedef {"connecting" | "ready" | "listening" | "speaking" | "interrupted" | "reconnecting" | "busy" | "ended"} State
 * @module
 */
import { ApiError, request, sessionPath, socketAddress } from "./api.js";
import { hold, release, sweep } from "./leases.js";
import { connect } from "./transport.js";

const KEY = "marotte.session";
const WISHES = "marotte.wishes";
const BACK_OFF_MS = [250, 500, 1000, 2000, 4000, 5000];
// A connection that held for so long is a success: the next loss is tried again at once.
const STABLE_MS = 10_000;
const INTERRUPTED_MS = 1500;
const READY_MS = 8000;

/** The one session of this page. */
export class Live extends EventTarget {
  /** @type {State} */
  state = "connecting";
  /** @type {string | null} */
  id = null;
  /** What the session was opened with and changed to, by the server's word. */
  settings = /** @type {any} */ ({});
  /** The answer of /v1/options. */
  options = null;
  /** @type {import("./transport.js").Transport | null} */
  transport = null;
  #socket = null;
  #attempt = 0; // whatever belongs to an older one is ignored
  #failures = 0;
  #stopped = false;
  #held = null;
  /** What the user asked for, which a new session is asked to be. */
  #wishes = JSON.parse(sessionStorage.getItem(WISHES) ?? "{}");

  /** @param {{sound: import("./sound.js").Sound, measure: any, wanted: string | null}} parts */
  constructor(parts) {
    super();
    this.parts = parts;
    this.id = sessionStorage.getItem(KEY);
  }

  /** Find the session of this tab again, or open one with the server's defaults; try until it is there. */
  start() {
    return this.#recover(++this.#attempt);
  }

  /**
   * Go on with a new session of other settings; with the old ones where these are refused.
   * @param {object} changes
   */
  async change(changes) {
    const attempt = ++this.#attempt;
    const [old, before] = [this.id, this.#wishes];
    this.#leave();
    this.#forget();
    this.#become("connecting");
    if (old) await request("DELETE", sessionPath(old)).catch(() => undefined);
    if (attempt !== this.#attempt) return;
    this.#wish({ ...before, ...changes });
    try {
      await this.#open(attempt);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#say("trouble", error.message);
      this.#wish(before);
    }
    if (attempt === this.#attempt) await this.#recover(attempt);
  }

  /** Change what a session can change while it runs. @param {object} changes */
  set(changes) {
    this.#wish({ ...this.#wishes, ...changes });
    this.send({ type: "set", ...changes });
  }

  /** @param {object} message to the control socket @returns {boolean} whether it could be sent */
  send(message) {
    return this.#post(JSON.stringify(message));
  }

  /** @param {ArrayBuffer} pcm int16 of the open turn @returns {boolean} */
  sendSound(pcm) {
    return this.#post(pcm);
  }

  /** Stop whatever is said and waits to be said. */
  interrupt() {
    this.send({ type: "interrupt" });
  }

  /** Let go; the session itself goes on on the server for a while. */
  stop() {
    this.#stopped = true;
    this.#attempt += 1;
    this.#leave();
  }

  /** Let go, and end the session on the server. */
  async end() {
    const { id } = this;
    this.stop();
    this.#forget();
    if (id) await request("DELETE", sessionPath(id));
  }

  /** Take up again what `stop` left. */
  resume() {
    this.#stopped = false;
    return this.#recover(++this.#attempt);
  }

  async #recover(attempt) {
    let said = null; // of the last complaint, whose numbers may differ
    while (attempt === this.#attempt) {
      try {
        await this.#take(attempt);
        if (attempt !== this.#attempt) return;
        await this.#connect(attempt);
        const failures = this.#failures;
        setTimeout(() => attempt === this.#attempt && this.#failures === failures && (this.#failures = 0), STABLE_MS);
        return;
      } catch (error) {
        if (attempt !== this.#attempt) return;
        this.#leave();
        if (error.status === 404 || error.status === 410) this.#forget();
        else if (error.status !== said) this.#say("trouble", error.message);
        said = error.status;
        // What is not there any more, after the server was started anew, is not asked for again.
        if (error.status === 422) this.#wish({});
        if (error.status === 401) return this.#become("ended");
        this.#become(error.status === 503 ? "busy" : "reconnecting");
        await pause(BACK_OFF_MS[Math.min(this.#failures++, BACK_OFF_MS.length - 1)]);
      }
    }
  }

  /** Have the options and a session. */
  async #take(attempt) {
    this.options ??= await request("GET", "v1/options");
    if (this.id) return this.#opened(await request("GET", sessionPath(this.id)));
    if (!this.settings.avatar) this.#say("settings", { ...this.options.defaults, ...this.#wishes });
    return this.#open(attempt);
  }

  async #open(attempt) {
    await sweep();
    const about = await request("POST", "v1/sessions", this.#wishes);
    if (attempt === this.#attempt) return this.#opened(about);
    // Something else was asked for in the meantime.
    await request("DELETE", sessionPath(about.id)).catch(() => undefined);
    throw new Error("given up");
  }

  #opened(about) {
    if (this.#held !== about.id) hold((this.#held = about.id));
    this.id = about.id;
    this.label = about.label;
    this.settings = about.settings;
    sessionStorage.setItem(KEY, about.id);
    this.#say("settings", about.settings);
  }

  async #connect(attempt) {
    const current = () => attempt === this.#attempt;
    const context = {
      session: this.id,
      iceServers: this.options.ice_servers,
      fps: this.settings.fps,
      ...this.parts,
      onElement: (element) => current() && this.#say("element", element),
      onFirst: () => current() && this.#say("first", this.transport.element),
      onLost: (reason) => current() && this.#lost(reason),
    };
    const begins = (transport) => {
      if (current()) this.transport = transport;
      return current();
    };
    await Promise.all([this.#control(attempt), connect(this.parts.wanted, context, begins)]);
  }

  #control(attempt) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(socketAddress(sessionPath(this.id, "/control")));
      const late = setTimeout(() => socket.close(), READY_MS);
      this.#socket = socket;
      let ready = false;
      socket.onmessage = ({ data }) => {
        if (attempt !== this.#attempt) return;
        const message = JSON.parse(data);
        if (message.type === "ready") {
          ready = true;
          clearTimeout(late);
          resolve();
        }
        this.#heard(message);
      };
      socket.onclose = () => {
        clearTimeout(late);
        if (attempt !== this.#attempt) return;
        if (ready) this.#lost("the server is gone");
        else reject(new ApiError(0, "the server does not answer"));
      };
    });
  }

  #heard(message) {
    if (message.type === "ready") {
      this.#become(message.microphone ? "listening" : message.state === "silent" ? "ready" : "speaking");
    } else if (message.type === "started") {
      if (this.state !== "listening") this.#become("speaking");
    } else if (message.type === "finished") {
      if (message.reason === "interrupted") this.#interrupted();
      else if (this.state === "speaking") this.#become("ready");
    } else if (message.type === "error") {
      this.#say("trouble", message.reason);
    } else if (message.type === "settings") {
      const { type, ...settings } = message;
      this.settings = settings;
    } else if (message.type === "closed") {
      this.#forget();
      this.#say("trouble", `the session ended: ${message.reason}`);
    }
    this.#say("message", message);
  }

  #interrupted() {
    this.#become("interrupted");
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.state === "interrupted" && this.#become("ready"), INTERRUPTED_MS);
  }

  /** @param {boolean} on whether the microphone speaks */
  listening(on) {
    if (on) this.#become("listening");
    else if (this.state === "listening") this.#become("ready");
  }

  #lost(reason) {
    const attempt = ++this.#attempt;
    this.#leave();
    this.#become("reconnecting");
    this.#say("trouble", `${reason}; trying again`);
    if (!this.#stopped) this.#recover(attempt);
  }

  #leave() {
    if (this.transport) this.#say("freeze", this.transport.element);
    this.transport?.close();
    this.transport = null;
    if (this.#socket) this.#socket.onclose = this.#socket.onmessage = null;
    this.#socket?.close();
    this.#socket = null;
  }

  #wish(wishes) {
    this.#wishes = wishes;
    sessionStorage.setItem(WISHES, JSON.stringify(wishes));
  }

  #forget() {
    this.id = null;
    if (this.#held) release(this.#held);
    this.#held = null;
    sessionStorage.removeItem(KEY);
  }

  #post(data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(data);
    return true;
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.#say("state", state);
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {number} ms @returns {Promise<void>} */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms * (0.8 + 0.4 * Math.random())));
