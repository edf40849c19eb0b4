/**
 * A lane of a plot: lines along time over one scale, with a cursor. Drawn once in a box of seconds by 1; the browser
 * stretches it, lines keep their width.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name @param {Record<string, string | number>} attributes */
export function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Return an element with a class and text. */
export function made(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Return a number to some significant digits, with a real minus. @param {number | null | undefined} value */
export function words(value, digits = 3) {
  if (value === null || value === undefined) return "—";
  if (Math.abs(value) < 1e-4) return "0";
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

/** Return how many decimal places tell a thousandth of a range, three at most. @param {[number, number]} range */
export function places([low, high]) {
  return Math.min(Math.max(Math.ceil(2.5 - Math.log10(high - low)), 0), 3);
}

/** Return a number to some decimal places, with a real minus. @param {number | null | undefined} value */
export function fixed(value, digits) {
  if (value === null || value === undefined) return "—";
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

/** Return the short line that is an arm's in legends. */
export function swatch(arm) {
  const svg = drawn("svg", { class: `swatch arm-${arm}`, viewBox: "0 0 28 10", "aria-hidden": "true" });
  svg.append(drawn("line", { x1: 1, y1: 5, x2: 27, y2: 5 }));
  return svg;
}

/** Return the lowest and highest of rows of numbers, [0, 1] of nothing. @param {(number | null)[][]} rows */
export function ends(rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    for (const value of row) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

/** Return some even steps between two numbers. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + 1e-9 * step; at += step) found.push(Math.round(at / step) * step);
  return found;
}

/** Return a path through points that are known; a gap where they are not. */
function line(seconds, values, place) {
  let [path, open] = ["", false];
  for (const [index, value] of values.entries()) {
    if (value !== null) path += `${open ? "L" : "M"}${seconds[index]} ${place(value)}`;
    // A point alone is a dot.
    if (value !== null && !open && (values[index + 1] ?? null) === null) path += "h0";
    open = value !== null;
  }
  return path;
}

/** Return the path of the area under known points. */
function area(seconds, values, place) {
  let [path, last] = ["", null];
  const ground = place(0);
  const end = () => last !== null && (path += `L${last} ${ground}Z`);
  for (const [index, value] of values.entries()) {
    if (value === null) {
      end();
      last = null;
      continue;
    }
    path += last === null ? `M${seconds[index]} ${ground}L${seconds[index]} ${place(value)}` : `L${seconds[index]} ${place(value)}`;
    last = seconds[index];
  }
  end();
  return path;
}

/**
 * Return a lane.
 * @param {{seconds: number[], length: number, range: [number, number], lines: {arm: number, values: (number | null)[]}[],
 *   under?: (number | null)[], underRange?: [number, number], bands?: [number, number][]}} told
 */
export function lane({ seconds, length, range, lines, under, underRange = range, bands = [] }) {
  const scale = ([low, high]) => (value) => Number((1 - (value - low) / (high - low)).toFixed(4));
  const svg = drawn("svg", { viewBox: `0 0 ${length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const at of ticks(0, length, 8)) svg.append(drawn("line", { class: "grid", x1: at, x2: at, y1: 0, y2: 1 }));
  for (const [start, end] of bands) svg.append(drawn("rect", { class: "band", x: start, y: 0, width: Math.max(end - start, length / 500), height: 1 }));
  if (under) svg.append(drawn("path", { class: "asked", d: area(seconds, under, scale(underRange)) }));
  for (const { arm, values } of lines) {
    svg.append(drawn("path", { class: `series arm-${arm}`, "data-arm": arm, d: line(seconds, values, scale(range)) }));
  }
  const place = made("div", "area");
  place.append(svg, made("i", "cursor"));
  const scaleWords = made("div", "ends");
  scaleWords.append(made("span", "", words(range[1], 2)), made("span", "", words(range[0], 2)));
  const whole = made("div", "lane");
  whole.append(scaleWords, place);
  return whole;
}
