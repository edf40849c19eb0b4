/**
 * Two arms at a time: a wipe between their pictures, and their difference. Nothing is read back from a canvas, so that
 * both work where the browser forbids that: the difference is composited, its colours are an SVG filter's.
 * @module
 */
import { drawCell, fit } from "./players.js";

/** Grey values that coding the film makes by itself. */
const CODING = 6;

export class Pair {
  /** @param {import("./film.js").Film} film @param {object} data the page's */
  constructor(film, data) {
    this.film = film;
    const find = (name) => document.getElementById(name);
    this.cells = data.cells;
    this.names = data.arms.map((arm) => arm.name);
    [this.left, this.right, this.gain, this.split, this.stage] = ["left", "right", "gain", "split", "wipe"].map(find);
    this.wipe = this.stage.querySelector("canvas");
    this.difference = find("difference").querySelector("canvas");
    const other = this.cells.find((cell) => cell.arm !== data.baseline);
    this.#fill(this.left, data.baseline);
    this.#fill(this.right, other.arm);
    for (const select of [this.left, this.right]) select.addEventListener("change", () => this.#choose());
    this.gain.addEventListener("change", () => this.#colour());
    this.split.addEventListener("input", () => this.#draw());
    this.stage.addEventListener("pointerdown", (event) => this.#drag(event));
    film.addEventListener("shown", () => this.#draw());
    this.#colour();
    this.#choose();
    find("pair").hidden = false;
  }

  #fill(select, chosen) {
    for (const { arm } of this.cells) select.add(new Option(this.names[arm], arm, false, arm === chosen));
  }

  #choose() {
    this.cell = { left: this.#cell(this.left), right: this.#cell(this.right) };
    fit(this.wipe, this.cell.left);
    fit(this.difference, this.cell.left);
    for (const side of ["left", "right"]) {
      this.stage.querySelector(`.${side}`).textContent = this.names[this.cell[side].arm];
    }
    this.#draw();
  }

  #cell(select) {
    return this.cells.find((cell) => cell.arm === Number(select.value));
  }

  #colour() {
    const gain = Number(this.gain.value);
    const row = [...Array(3).fill((gain / 3).toFixed(4)), 0, ((-gain * CODING) / 255).toFixed(4)].join(" ");
    document.getElementById("heat-gain").setAttribute("values", `${row} ${row} ${row} 0 0 0 1 0`);
    document.getElementById("scale-low").textContent = `up to ${CODING} of 255: coding, left dark`;
    document.getElementById("scale-high").textContent = `${Math.min(Math.round(CODING + 255 / gain), 255)} of 255 and more`;
  }

  #drag(event) {
    event.preventDefault();
    const move = ({ clientX }) => {
      const { left, width } = this.stage.getBoundingClientRect();
      this.split.value = (100 * (clientX - left)) / width;
      this.#draw();
    };
    this.stage.setPointerCapture(event.pointerId);
    this.stage.addEventListener("pointermove", move);
    const end = () => this.stage.removeEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.stage.addEventListener(name, end, { once: true });
    move(event);
  }

  #draw() {
    this.stage.style.setProperty("--split", this.split.value);
    if (!this.film.ready) return;
    const { left, right } = this.cell;
    drawCell(this.wipe, this.film, right);
    const width = Math.round((this.wipe.width * Number(this.split.value)) / 100);
    if (width) drawCell(this.wipe, this.film, left, width);
    const paper = this.difference.getContext("2d");
    paper.globalCompositeOperation = "copy";
    drawCell(this.difference, this.film, left);
    paper.globalCompositeOperation = "difference";
    drawCell(this.difference, this.film, right);
  }
}
