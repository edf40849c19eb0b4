/**
 * The live panel: what matters, once a second, from the server's metrics and from this page.
 * @module
 */

const KEY = "marotte.panel";
// Beyond these the eye sees that sound and lips are apart (EBU R 37): early, late, in milliseconds.
const [EARLY_MS, LATE_MS] = [40, -60];
const STAGES = {
  motion: "Sound to motion",
  render: "To picture",
  encode: "To packet",
  send: "To network",
  total: "Server in all",
};
const PAGE = { roundTripMs: "Round trip", jitterBufferMs: "Picture buffer", soundBufferMs: "Sound buffer", decodeMs: "Decoding" };
const NOW = { made: "Made", decoded: "Decoded", shown: "Shown", offset: "Sound before picture", turn: "Said", dry: "Ran dry" };
const CAUSES = { dropped_late: "Late at the server", dropped_render: "Drawing behind", dropped_encode: "Encoding behind", dropped_interrupted: "Interrupted" };

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** Shows numbers; keeps the newest for `stats()`. */
export class Panel {
  #server = null;
  #before = null;
  rates = { shownFps: null, decodedFps: null };

  /** @param {import("./live.js").Live} live @param {import("./stage.js").Stage} stage */
  constructor(live, stage) {
    Object.assign(this, { live, stage });
    const box = get("live");
    box.open = (localStorage.getItem(KEY) ?? String(matchMedia("(min-width: 56.01rem)").matches)) === "true";
    box.addEventListener("toggle", () => localStorage.setItem(KEY, String(box.open)));
    live.addEventListener("message", ({ detail }) => detail.type === "metrics" && (this.#server = detail));
    live.addEventListener("first", () => (this.#before = null));
    this.rows = { ...rows("now", NOW), ...rows("stages", { ...STAGES, ...PAGE }), ...rows("drops", CAUSES) };
    setInterval(() => this.#update(), 1000);
  }

  async #update() {
    const { transport } = this.live;
    if (!transport) return;
    const [stats, at] = [await transport.stats(), performance.now()];
    if (this.#before?.transport === transport) {
      const seconds = (at - this.#before.at) / 1000;
      const rate = (name) => Math.round((stats[name] - this.#before.stats[name]) / seconds);
      this.rates = { shownFps: rate("shown"), decodedFps: rate("decoded") };
    }
    this.#before = { transport, stats, at };
    this.#show(stats, this.#server ?? {});
  }

  #show(stats, server) {
    const { shownFps, decodedFps } = this.rates;
    const offset = stats.avOffsetMs === null ? null : Math.round(stats.avOffsetMs);
    const said = this.stage.position;
    this.#write("made", server.fps == null ? null : `${Math.round(server.fps)} fps`);
    this.#write("decoded", decodedFps === null ? null : `${decodedFps} fps`);
    this.#write("shown", shownFps === null ? null : `${shownFps} fps`);
    this.#write("offset", offset === null ? null : `${String(offset).replace("-", "−")} ms`, offset > EARLY_MS || offset < LATE_MS);
    this.#write("turn", said && (said.seconds ? `${said.position.toFixed(1)} / ${said.seconds.toFixed(1)} s` : `${said.position.toFixed(1)} s`));
    this.#write("dry", String(server.counts?.ran_dry ?? 0));
    for (const name of Object.keys(STAGES)) {
      const waited = this.stage.ofFile && ["motion", "total"].includes(name);
      const delay = waited ? null : server.delays_ms?.[name];
      this.#write(name, delay ? `${milliseconds(delay.p50)} · ${milliseconds(delay.p95)} ms` : null);
    }
    for (const name of Object.keys(PAGE)) this.#write(name, stats[name] === null ? null : `${milliseconds(stats[name])} ms`);
    for (const name of Object.keys(CAUSES)) this.#write(name, String(server.counts?.[name] ?? 0));
    for (const [cause, count] of Object.entries(stats.dropped)) {
      const row = `here_${cause}`;
      if (!this.rows[row]) Object.assign(this.rows, rows("drops", { [row]: `Here: ${cause}` }));
      this.#write(row, String(count));
    }
    const way = this.live.transport?.kind === "ws" ? "WebSocket" : "WebRTC";
    get("brief").textContent = shownFps === null ? "" : `${shownFps} fps · ${way}`;
  }

  #write(row, text, bad = false) {
    const place = this.rows[row];
    const words = text ?? "–";
    if (place.textContent !== words) place.textContent = words;
    place.classList.toggle("bad", bad);
  }
}

/** @param {number} value @returns {string} */
const milliseconds = (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0));

/** @param {string} list @param {Record<string, string>} names @returns {Record<string, HTMLElement>} where values go */
function rows(list, names) {
  const made = {};
  for (const [name, title] of Object.entries(names)) {
    const term = Object.assign(document.createElement("dt"), { textContent: title });
    made[name] = Object.assign(document.createElement("dd"), { textContent: "–" });
    get(list).append(term, made[name]);
  }
  return made;
}
