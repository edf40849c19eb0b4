/**
 * A player for each arm, in step because all show one film; and what moves it: buttons, scrubber, keys.
 * @module
 */

/** Draw an arm's place in the film over a whole canvas. */
export function drawCell(canvas, film, cell, width = canvas.width) {
  const part = width / canvas.width;
  canvas
    .getContext("2d")
    .drawImage(film.video, cell.x, cell.y, cell.width * part, cell.height, 0, 0, width, canvas.height);
}

/** Give a canvas the size of an arm's place. */
export function fit(canvas, cell) {
  canvas.width = cell.width;
  canvas.height = cell.height;
}

export class Players {
  /** @param {import("./film.js").Film} film @param {{arm: number, x: number, y: number, width: number, height: number}[]} cells */
  constructor(film, cells) {
    this.film = film;
    this.shown = [...document.querySelectorAll("#players canvas")].map((canvas) => {
      const cell = cells.find((each) => each.arm === Number(canvas.dataset.arm));
      fit(canvas, cell);
      return { canvas, cell };
    });
    film.addEventListener("shown", () => this.#draw());
  }

  #draw() {
    for (const { canvas, cell } of this.shown) drawCell(canvas, this.film, cell);
  }
}

export class Transport {
  /** @param {import("./film.js").Film} film */
  constructor(film) {
    this.film = film;
    const find = (name) => document.getElementById(name);
    [this.play, this.loop, this.mute, this.scrub, this.clock] = ["play", "loop", "mute", "scrub", "clock"].map(find);
    this.scrub.max = film.frames - 1;
    this.scrub.addEventListener("input", () => film.seek(Number(this.scrub.value)));
    this.play.addEventListener("click", () => film.toggle());
    find("back").addEventListener("click", () => film.step(-1));
    find("on").addEventListener("click", () => film.step(1));
    find("speed").addEventListener("change", ({ target }) => (film.video.playbackRate = Number(target.value)));
    this.loop.addEventListener("click", () => this.#loop());
    this.mute.addEventListener("click", () => this.#mute());
    addEventListener("keydown", (event) => this.#key(event));
    film.addEventListener("shown", () => this.#time());
    film.addEventListener("state", () => this.#state());
    this.#time();
    find("transport").hidden = false;
  }

  #loop() {
    this.film.video.loop = !this.film.video.loop;
    this.#state();
  }

  #mute() {
    this.film.video.muted = !this.film.video.muted;
  }

  #time() {
    const { frame, frames, fps } = this.film;
    const seconds = (frame / fps).toFixed(2);
    // A hand on the scrubber is ahead of the film.
    if (this.film.target === null) this.scrub.value = frame;
    this.scrub.setAttribute("aria-valuetext", `${seconds} s, frame ${frame} of ${frames}`);
    this.clock.textContent = `${seconds} s · frame ${frame} of ${frames}`;
  }

  #state() {
    const { playing, video } = this.film;
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.play.querySelector("use").setAttribute("href", playing ? "#icon-pause" : "#icon-play");
    this.loop.setAttribute("aria-pressed", video.loop);
    this.mute.setAttribute("aria-pressed", video.muted);
    this.mute.querySelector("use").setAttribute("href", video.muted ? "#icon-muted" : "#icon-sound");
  }

  /** Keys are the page's, unless what has the focus uses them itself. */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const at = event.target;
    const [takesAll, takesSpace] = [at.matches("select, input, [role=region]"), at.matches("button, a, summary")];
    const ways = { ArrowLeft: () => this.film.step(-1), ArrowRight: () => this.film.step(1), " ": () => this.film.toggle(), l: () => this.#loop(), m: () => this.#mute() };
    const way = ways[event.key];
    if (!way || (takesAll && !"lm".includes(event.key) && !(at === this.scrub && event.key === " ")) || (takesSpace && event.key === " ")) return;
    event.preventDefault();
    way();
  }
}
