/**
 * Plots along time, with one cursor that follows the players; a click or a drag leads the players there.
 * @module
 */
import { ends, fixed, lane, made, places, swatch, ticks, words } from "./lanes.js";

/** Those with `asked` have a lane for each arm, with what its driver asked for behind what is seen. */
const PLOTS = [
  { track: "opening", asked: "asked", bands: true },
  { track: "blink", asked: "asked_blink" },
  { track: "head" },
  { track: "turn" },
  { track: "speed" },
  { track: "difference" },
  { track: "psnr" },
  { track: "frame_ms" },
];

export class Plots {
  /** @param {import("./film.js").Film} film @param {object} data the page's */
  constructor(film, data) {
    this.film = film;
    this.data = data;
    this.length = film.frames / film.fps;
    this.place = document.getElementById("plots");
    this.readings = [];
    const known = new Set(data.arms.flatMap((arm) => Object.keys(arm.tracks)));
    for (const { track, asked } of PLOTS) [track, asked].forEach((name) => known.delete(name));
    const figures = [...PLOTS, ...[...known].map((track) => ({ track }))].map((plot) => this.#plot(plot)).filter(Boolean);
    this.place.append(...figures);
    this.place.hidden = figures.length === 0;
    this.#choices();
    film.addEventListener("shown", () => this.#follow());
    this.#follow();
  }

  /** Return an arm's track, null where it holds nothing. */
  #track(arm, name) {
    const values = this.data.arms[arm].tracks[name];
    return values?.some((value) => value !== null) ? values : null;
  }

  #plot({ track, asked, bands }) {
    const lines = this.data.arms.map((_, arm) => ({ arm, values: this.#track(arm, track) })).filter(({ values }) => values);
    if (!lines.length) return null;
    const [title, unit] = [this.data.titles[track] ?? track, this.data.units[track] ?? ""];
    const figure = made("figure", asked ? "plot lanes" : "plot");
    const heading = made("h3", "", title);
    if (unit) heading.append(made("small", "", unit));
    figure.append(heading);
    figure.dataset.track = track;
    figure.setAttribute("role", "group");
    figure.setAttribute("aria-label", title);
    if (asked) this.#lanes(figure, track, asked, lines, unit, bands ? this.data.bilabials : []);
    else this.#together(figure, lines, unit);
    figure.append(this.#times());
    for (const place of figure.querySelectorAll(".area")) place.addEventListener("pointerdown", (event) => this.#drag(event, place));
    return figure;
  }

  #together(figure, lines, unit) {
    const legend = made("p", "legend");
    for (const { arm, values } of lines) legend.append(this.#label(arm, [["", values, unit]]));
    figure.append(legend, this.#lane({ range: ends(lines.map(({ values }) => values)), lines }));
  }

  #lanes(figure, track, asked, lines, unit, bands) {
    const unitOf = (arm) => (track === "opening" ? (this.data.arms[arm].unit ?? unit) : unit);
    const askedUnit = this.data.units[asked] ?? unit;
    const legend = made("p", "legend soft");
    const key = (kind, text) => {
      const item = made("span");
      item.append(made("i", `key ${kind}`), text);
      legend.append(item);
    };
    if (lines.some(({ arm }) => this.#track(arm, asked))) key("asked", track === "blink" ? "asked by the driver; idle blinks come on top" : "asked by the driver, before the arm's options");
    if (bands.length) key("band", "lips should be shut: p, b, m");
    if (legend.childNodes.length) figure.append(legend);
    // What has one unit has one scale, so that a smaller opening looks smaller.
    const range = (wanted) =>
      ends([
        [0],
        ...lines.filter(({ arm }) => unitOf(arm) === wanted).map(({ values }) => values),
        ...(wanted === askedUnit ? lines.map(({ arm }) => this.#track(arm, asked) ?? []) : []),
      ]);
    for (const { arm, values } of lines) {
      const under = this.#track(arm, asked);
      const own = unitOf(arm);
      const readings = [["", values, own], ...(under ? [["asked", under, askedUnit]] : [])];
      const label = made("p", "legend");
      label.append(this.#label(arm, readings));
      if (own !== askedUnit) label.append(made("span", "soft", `seen as ${own || "a share of the widest that its picture showed"}: on a scale of its own`));
      figure.append(label, this.#lane({ range: range(own), lines: [{ arm, values }], under, underRange: range(askedUnit), bands }));
    }
  }

  #lane(told) {
    return lane({ seconds: this.data.seconds, length: this.length, ...told });
  }

  /** Return an arm's name with what its tracks are at the cursor. */
  #label(arm, readings) {
    const label = made("span");
    label.dataset.arm = arm;
    label.append(swatch(arm), `${this.data.arms[arm].name} `);
    for (const [name, values, unit] of readings) {
      const reading = made("b");
      label.append(name ? ` · ${name} ` : "", reading, unit ? ` ${unit}` : "");
      this.readings.push({ reading, values, places: places(ends([values])) });
    }
    return label;
  }

  #times() {
    const times = made("div", "times");
    for (const at of ticks(0, this.length, 8)) {
      const time = made("span", "", `${words(at)} s`);
      time.style.left = `${(100 * at) / this.length}%`;
      times.append(time);
    }
    return times;
  }

  #choices() {
    const choices = document.getElementById("shown");
    for (const [arm, { name }] of this.data.arms.entries()) {
      const [label, box] = [made("label"), made("input")];
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        for (const each of this.place.querySelectorAll(`.plot [data-arm="${arm}"]`)) {
          (each.closest(".lanes .legend") ?? each).toggleAttribute("hidden", !box.checked);
          if (each.matches(".lanes .series")) each.closest(".lane").hidden = !box.checked;
        }
      });
      label.append(box, swatch(arm), name);
      choices.append(label);
    }
  }

  #drag(event, place) {
    event.preventDefault();
    const move = ({ clientX }) => {
      const { left, width } = place.getBoundingClientRect();
      this.film.seek(Math.floor(((clientX - left) / width) * this.film.frames));
    };
    place.setPointerCapture(event.pointerId);
    place.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) place.addEventListener(name, () => place.removeEventListener("pointermove", move), { once: true });
    move(event);
  }

  #follow() {
    const { frame, frames } = this.film;
    const at = (frame + 0.5) / frames;
    for (const plot of this.place.querySelectorAll(".plot")) plot.style.setProperty("--at", (100 * at).toFixed(3));
    const index = Math.min(Math.floor(at * this.data.seconds.length), this.data.seconds.length - 1);
    for (const { reading, values, places } of this.readings) reading.textContent = fixed(values[index], places);
  }
}
