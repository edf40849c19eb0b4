/**
 * The picture and what lies over it: layers that fade into each other, caption, progress, what is said of sound.
 * @module
 */

const FADE_MS = 400;
const ADVANCE_MS = 200;
const WORDS = {
  connecting: "Connecting",
  ready: "Ready",
  listening: "Listening",
  speaking: "Speaking",
  interrupted: "Interrupted",
  reconnecting: "Reconnecting",
  busy: "Waiting for room on the server",
  ended: "Not allowed: the address needs its token",
};
/** @param {string} id */
const get = (id) => document.getElementById(id);

/** The face's place on the page. */
export class Stage {
  #screen = get("screen");
  #progress = get("progress");
  #turn = null; // that is spoken, and when it began
  #last = ""; // the turn that is or was spoken last
  #files = new Map(); // by turn, name and seconds of those that are spoken or wait to be
  #over = new Set(); // the turns that ended while files were on their way: one of these may be theirs
  #sending = "";

  /** @param {import("./live.js").Live} live @param {import("./beside.js").Beside} beside @param {import("./sound.js").Sound} sound */
  constructor(live, beside, sound) {
    this.sound = sound;
    const second = get("screen-b");
    beside.addEventListener("element", ({ detail }) => second.append(detail));
    beside.addEventListener("first", ({ detail }) => reveal(second, detail));
    beside.addEventListener("freeze", ({ detail }) => freeze(detail));
    beside.addEventListener("change", ({ detail }) => ["off", "failed"].includes(detail) && clear(second));
    live.addEventListener("state", ({ detail }) => this.#show(detail));
    live.addEventListener("element", ({ detail }) => this.#screen.append(detail));
    live.addEventListener("first", ({ detail }) => reveal(this.#screen, detail));
    live.addEventListener("freeze", ({ detail }) => freeze(detail));
    live.addEventListener("settings", () => (get("label").hidden = !live.label));
    live.addEventListener("message", ({ detail }) => this.#follow(detail));
    sound.addEventListener("change", () => this.#tell());
    get("hear").addEventListener("click", () => {
      sound.unlock();
      sound.setMuted(false);
    });
    setTimeout(() => this.#tell(), 300);
    setInterval(() => this.#advance(), ADVANCE_MS);
  }

  /** @param {number | null} share of a file that is sent, 0 to 1; null once none is any more */
  sending(share) {
    this.#sending = share === null ? "" : `Sending ${Math.round(100 * share)} %`;
    if (share === null) this.#over.clear();
    this.#caption();
  }

  /** @param {string} turn that is to come, unless it did @param {string} name of its file @param {number | null} seconds */
  expect(turn, name, seconds) {
    if (turn === this.#last) this.ofFile = true;
    if (this.#over.has(turn)) return;
    this.#files.set(turn, { name, seconds });
    this.#caption();
  }

  /** Whether what is or was said last is a file, which waits its turn: how long that takes is no latency. */
  ofFile = false;

  /** @returns {{turn: string, position: number, seconds: number | null} | null} what is being said, seconds */
  get position() {
    if (!this.#turn) return null;
    const { turn, began } = this.#turn;
    const seconds = this.#files.get(turn)?.seconds ?? null;
    return { turn, position: Math.min((performance.now() - began) / 1000, seconds ?? Infinity), seconds };
  }

  /** Say over the picture which file is on its way, spoken, or next. */
  #caption() {
    const [next] = this.#files.values();
    const text = this.#sending || (this.#files.get(this.#turn?.turn) ?? next)?.name || "";
    get("caption").textContent = text;
    get("caption").hidden = !text;
  }

  #show(state) {
    get("state").dataset.state = this.#screen.dataset.state = state;
    get("state-text").textContent = WORDS[state];
  }

  #follow(message) {
    if (message.type === "started") {
      this.#turn = { turn: message.turn, began: performance.now() };
      this.#last = message.turn;
      this.ofFile = this.#files.has(message.turn);
    } else if (message.type === "finished") {
      if (this.#sending) this.#over.add(message.turn);
      if (this.#turn?.turn === message.turn) this.#turn = null;
      this.#files.delete(message.turn);
    } else if (message.type === "ready") {
      this.#turn = null;
      this.#files.clear();
    } else return;
    this.#caption();
  }

  #advance() {
    const now = this.position;
    // What is set anew counts as a change of the page, also where it is the same.
    if (this.#progress.hidden === Boolean(now?.seconds)) this.#progress.hidden = !now?.seconds;
    if (now?.seconds) this.#progress.value = now.position / now.seconds;
  }

  /** Never be silent without saying so. */
  #tell() {
    const { sound } = this;
    get("hear").hidden = sound.audible;
    get("hear").lastChild.textContent = sound.blocked ? "Click to hear" : "Muted: click to hear";
    get("mute").setAttribute("aria-pressed", String(sound.muted));
    get("mute").lastElementChild.textContent = sound.muted ? "Muted" : "Mute";
    get("mute-icon").setAttribute("href", `icons.svg#${sound.muted ? "muted" : "sound"}`);
  }
}

/** Let what a connection shows appear over what was there. @param {HTMLElement} screen @param {HTMLElement} element */
function reveal(screen, element) {
  screen.classList.add("alive");
  element.classList.add("seen");
  const older = [...screen.querySelectorAll(".layer")].filter((layer) => layer !== element);
  setTimeout(() => older.forEach((layer) => layer.remove()), FADE_MS);
}

/** Keep the last picture while the next connection is made. */
function freeze(element) {
  const shown = element.classList.contains("seen");
  const [width, height] = [element.videoWidth ?? element.width, element.videoHeight ?? element.height];
  if (shown && width) {
    const still = document.createElement("canvas");
    Object.assign(still, { width, height, className: "layer seen" });
    still.getContext("2d").drawImage(element, 0, 0);
    element.replaceWith(still);
  } else {
    element.remove();
  }
}

/** @param {HTMLElement} screen that shows nothing any more */
function clear(screen) {
  screen.classList.remove("alive");
  for (const layer of screen.querySelectorAll(".layer")) layer.remove();
}
