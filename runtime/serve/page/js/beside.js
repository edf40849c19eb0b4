/**
 * The second arm of a comparison: a session beside the page's own, with the same speech on the same clock. It comes, is
 * replaced and goes while the first speaks, whose connection knows nothing of it. Its sound is not heard twice.
 *
 * Events: `change` (the state), `trouble` (one line), `element`, `first`, `freeze` as of Live, `message` of its control
 * socket.
 * @typedef {{avatar: string, driver: string, variant: string | null, expressiveness: number}} Wish
 * @module
 */
import { request, sessionPath, socketAddress } from "./api.js";
import { connect } from "./transport.js";

const KEY = "marotte.beside";
const AGAIN_MS = 1500;
// Its pictures come so that the page decides which is shown, where the browser can do that.
const WAYS = ["ws", "webrtc"];
const SHARED = ["background", "head_motion"];

/** At most one arm. */
export class Beside extends EventTarget {
  /** @type {"off" | "opening" | "on" | "failed"} */
  state = "off";
  /** Why it failed. */
  reason = "";
  /** @type {string | null} */
  id = null;
  settings = null;
  /** @type {import("./transport.js").Transport | null} */
  transport = null;
  /** @type {Wish | null} */
  wish = null;
  #attempt = 0; // whatever belongs to an older one is ignored
  #socket = null;

  /** @param {import("./live.js").Live} live @param {{sound: any, measure: any}} parts */
  constructor(live, parts) {
    super();
    Object.assign(this, { live, parts });
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    if (kept) [this.wish, this.id] = [kept.wish, kept.id];
    live.addEventListener("message", ({ detail }) => this.#follow(detail));
  }

  /**
   * Open it, or put another in its place. What is there stays until the new one shows, where the server has room for
   * three; where the new one is refused, it stays.
   * @param {Wish} wish
   */
  async open(wish) {
    const before = this.wish;
    this.wish = wish;
    if (!this.live.id) return this.#become("opening"); // it comes with the first
    const attempt = ++this.#attempt;
    const first = this.live.id;
    this.#become("opening");
    let about;
    try {
      about = await this.#request(wish, attempt);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (this.live.id !== first) return this.#become("opening"); // it comes with the next first
      if (!this.transport && (!before || before === wish)) return this.#fail(error.message);
      if (!this.transport) {
        // What was there had to make room: it comes back.
        this.wish = null;
        this.#say("trouble", error.message);
        return this.open(before);
      }
      this.wish = before;
      this.#become("on");
      return this.#say("trouble", error.message);
    }
    if (attempt !== this.#attempt) return void end(about.id);
    await this.#take(about, attempt);
  }

  /** Ask for a session; without room for it, in the place of the one that is there. */
  async #request(wish, attempt) {
    const asked = { ...wish, beside: this.live.id };
    try {
      return await request("POST", "v1/sessions", asked);
    } catch (error) {
      if (error.status !== 503 || !this.id || attempt !== this.#attempt) throw error;
      const { id } = this;
      this.#leave();
      this.id = null;
      await end(id);
      return request("POST", "v1/sessions", asked);
    }
  }

  /** End it. */
  close() {
    this.#attempt += 1;
    const { id } = this;
    this.#leave();
    this.wish = this.id = null;
    this.#become("off");
    if (id) end(id);
  }

  /** @param {object} changes of what a session can change while it runs */
  set(changes) {
    if (this.wish && "expressiveness" in changes) this.wish = { ...this.wish, expressiveness: changes.expressiveness };
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type: "set", ...changes }));
    this.#keep();
  }

  /** Follow the first session: another one, or one that was found again, has this arm beside it as well. */
  #follow(message) {
    if (message.type === "ready" && this.wish) {
      if (!message.twins.includes(this.id)) this.open(this.wish);
      else if (!this.transport) this.#find(this.id);
    } else if (message.type === "settings" && this.settings) {
      const changed = SHARED.filter((name) => message[name] !== this.settings[name]);
      if (changed.length) this.set(Object.fromEntries(changed.map((name) => [name, message[name]])));
    }
  }

  async #find(id) {
    const attempt = ++this.#attempt;
    const about = await request("GET", sessionPath(id)).catch(() => null);
    if (attempt !== this.#attempt) return;
    if (about) await this.#take(about, attempt);
    else if (this.wish) await this.open(this.wish);
  }

  /** Connect with a session, and leave the one before it once this one shows. */
  async #take(about, attempt) {
    const before = { id: this.id, transport: this.transport, socket: this.#socket };
    const current = () => attempt === this.#attempt;
    Object.assign(this, { id: about.id, settings: about.settings, transport: null });
    this.#socket = this.#control(about.id, current);
    this.#keep();
    const gone = () => {
      if (before.socket) before.socket.onclose = before.socket.onmessage = null;
      before.socket?.close();
      before.transport?.close();
      if (before.id && before.id !== about.id) end(before.id);
    };
    const context = {
      session: about.id,
      iceServers: this.live.options.ice_servers,
      fps: about.settings.fps,
      ...this.parts,
      silent: true,
      lead: () => this.live.transport,
      onElement: (element) => current() && this.#say("element", element),
      onFirst: () => {
        if (!current()) return;
        this.#say("first", this.transport.element);
        this.#become("on");
        gone();
      },
      onLost: () => current() && this.#again(about.id),
    };
    const begins = (transport) => {
      if (current()) this.transport = transport;
      return current();
    };
    try {
      await connect(WAYS, context, begins);
    } catch (error) {
      if (current()) this.#again(about.id);
    }
    if (!current()) gone();
  }

  #control(id, current) {
    const socket = new WebSocket(socketAddress(sessionPath(id, "/control")));
    socket.onmessage = ({ data }) => {
      if (!current()) return;
      const message = JSON.parse(data);
      if (message.type === "settings") this.settings = message;
      // It ends with the first; the next first brings another.
      if (message.type === "closed" && this.live.id) this.#fail(message.reason);
      else if (message.type === "closed") this.#wait();
      else this.#say("message", message);
    };
    return socket;
  }

  /** What was lost is tried again, while the first is there. */
  #again(id) {
    const attempt = ++this.#attempt;
    this.#leave();
    this.#become("opening");
    setTimeout(() => attempt === this.#attempt && this.live.id && this.#find(id), AGAIN_MS);
  }

  #wait() {
    this.#attempt += 1;
    this.#leave();
    this.id = null;
    this.#become("opening");
  }

  #fail(reason) {
    this.#attempt += 1;
    this.#leave();
    this.wish = this.id = null;
    this.reason = reason;
    this.#become("failed");
  }

  #leave() {
    if (this.transport) this.#say("freeze", this.transport.element);
    this.transport?.close();
    this.transport = null;
    if (this.#socket) this.#socket.onmessage = null;
    this.#socket?.close();
    this.#socket = null;
  }

  #keep() {
    if (this.wish) sessionStorage.setItem(KEY, JSON.stringify({ wish: this.wish, id: this.id }));
    else sessionStorage.removeItem(KEY);
  }

  #become(state) {
    this.state = state;
    if (state !== "failed") this.reason = "";
    this.#keep();
    this.#say("change", state);
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {string} id of a session that is not used any more */
const end = (id) => request("DELETE", sessionPath(id)).catch(() => undefined);
