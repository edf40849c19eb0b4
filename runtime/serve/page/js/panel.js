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

const ARMS = { b_made: "Made", b_shown: "Shown", b_dropped: "Dropped", b_behind: "Second's driver late", b_apart: "Pictures apart" };

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** Shows numbers; keeps the newest for `stats()`. */
export class Panel {
  #server = null;
  #before = null;
  #second = null; // the server's word of the second arm
  #secondBefore = null;
  rates = { shownFps: null, decodedFps: null };

  /** @param {import("./live.js").Live} live @param {import("./beside.js").Beside} beside @param {import("./stage.js").Stage} stage */
  constructor(live, beside, stage) {
    Object.assign(this, { live, beside, stage });
    const box = get("live");
    box.open = (localStorage.getItem(KEY) ?? String(matchMedia("(min-width: 56.01rem)").matches)) === "true";
    box.addEventListener("toggle", () => localStorage.setItem(KEY, String(box.open)));
    live.addEventListener("message", ({ detail }) => detail.type === "metrics" && (this.#server = detail));
    live.addEventListener("first", () => (this.#before = null));
    beside.addEventListener("message", ({ detail }) => detail.type === "metrics" && (this.#second = detail));
    this.rows = { ...rows("now", NOW), ...rows("stages", { ...STAGES, ...PAGE }), ...rows("drops", CAUSES), ...rows("both", ARMS) };
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
    await this.#compare(stats, this.#server ?? {});
  }

  /** Show what both arms do, side by side. */
  async #compare(stats, server) {
    const { transport } = this.beside;
    get("arms").hidden = get("more-keys").hidden = !this.beside.wish;
    if (!transport) return void (this.#secondBefore = null);
    const [own, at, second] = [await transport.stats(), performance.now(), this.#second ?? {}];
    const before = this.#secondBefore?.transport === transport ? this.#secondBefore : null;
    const shown = before && Math.round((own.shown - before.shown) / ((at - before.at) / 1000));
    this.#secondBefore = { transport, shown: own.shown, at };
    const pair = (one, other, unit = "") => `${one ?? "–"} · ${other ?? "–"}${unit}`;
    const fps = ({ fps: rate }) => (rate == null ? null : Math.round(rate));
    const lost = (from, here) =>
      Object.keys(CAUSES).reduce((sum, name) => sum + (from.counts?.[name] ?? 0), 0) + Object.values(here.dropped).reduce((sum, count) => sum + count, 0);
    this.#write("b_made", pair(fps(server), fps(second), " fps"));
    this.#write("b_shown", pair(this.rates.shownFps, shown, " fps"));
    this.#write("b_dropped", pair(lost(server, stats), lost(second, own)));
    this.#write("b_behind", String(second.counts?.behind ?? 0));
    const apart = distance(this.live.transport, transport, this.live.settings.fps);
    this.#write("b_apart", apart === null ? null : `${apart} ms`);
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

/** How far apart two pictures are, milliseconds: exactly where both tell their ticks, else to a frame. */
function distance(one, other, fps) {
  if (one?.tick != null && other.tick != null) return Math.round(Math.abs(one.tick - other.tick) / 48);
  if (one?.arrival == null || other.arrival === null) return null;
  return Math.round((Math.round((Math.abs(one.arrival - other.arrival) * fps) / 1000) * 1000) / fps);
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
