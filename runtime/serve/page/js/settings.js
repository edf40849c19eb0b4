/**
 * The settings form. What makes another session (avatar, driver, size, frame rate) waits until the choice rests; the
 * rest changes the running one.
 * @module
 */

const REST_MS = 450;
const EVERY_MS = 60;
const SLIDERS = ["expressiveness", "head_motion"];
const CHOICES = ["avatar", "driver", "size", "fps"];
const COLOURS = { Mist: "#dee3eb", Sand: "#e6dccb", Sage: "#b9c6b4", Rose: "#d8b7ae", Slate: "#4b5866", Night: "#15181d" };
const OWN_TITLE = "Of your choice";

/** @param {string} name @returns {any} */
const field = (name) => document.getElementById(name);

/** @param {import("./live.js").Live} live */
export function showSettings(live) {
  let pending = {};
  let resting;
  for (const name of CHOICES) {
    field(name).addEventListener("change", () => {
      pending[name] = valueOf(name);
      clearTimeout(resting);
      resting = setTimeout(() => {
        const changes = pending;
        pending = {};
        live.change(changes);
      }, REST_MS);
    });
  }
  const set = paced((changes) => live.set(changes));
  for (const name of SLIDERS) {
    field(name).addEventListener("input", ({ target }) => {
      say(target);
      set({ [name]: Number(target.value) });
    });
  }
  addBackgrounds((background) => set({ background }));
  field("settings").addEventListener("submit", (event) => event.preventDefault());
  live.addEventListener("settings", ({ detail }) => {
    if (!Object.keys(pending).length) show(detail, live.options);
  });
}

/** Put the session's settings into the form. */
function show(settings, options) {
  if (!options) return;
  fill("avatar", options.avatars.map(({ name, title }) => [name, title]), settings.avatar);
  fill("driver", options.drivers.map((name) => [name, name]), settings.driver);
  const [width, height] = [].concat(settings.size, settings.size);
  const size = width === height ? String(width) : `${width}x${height}`;
  for (const [name, values, chosen] of [["size", options.sizes, size], ["fps", options.fps, String(settings.fps)]]) {
    fill(name, withValue(values.map(String), chosen).map((value) => [value, value.replace("x", " × ")]), chosen);
  }
  for (const name of SLIDERS) {
    const slider = field(name);
    const [least, most] = options.ranges[name];
    Object.assign(slider, { min: String(least), max: String(most), value: String(settings[name]) });
    say(slider);
  }
  const known = field("backgrounds").querySelector(`input[value="${CSS.escape(String(settings.background))}"]`);
  if (known) known.checked = true;
}

/** @param {string} name @param {[string, string][]} choices @param {string} chosen */
function fill(name, choices, chosen) {
  const select = field(name);
  const before = JSON.stringify([...select.options].map(({ value, text }) => [value, text]));
  if (before !== JSON.stringify(choices)) select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
  select.value = chosen;
}

/** @template T @param {T[]} values @param {T} value @returns {T[]} with it */
const withValue = (values, value) => (values.includes(value) ? values : [value, ...values]);

/** @param {string} name @returns {string | number} */
function valueOf(name) {
  const { value } = field(name);
  return name === "fps" ? Number(value) : value;
}

/** @param {HTMLInputElement} slider */
function say(slider) {
  const text = Number(slider.value).toFixed(1);
  slider.previousElementSibling.textContent = text;
}

/** @param {(colour: string) => void} choose */
function addBackgrounds(choose) {
  const place = field("backgrounds");
  for (const [name, colour] of Object.entries(COLOURS)) {
    const { input, dot } = swatch(place, name, { type: "radio", name: "background", value: colour });
    dot.style.background = colour;
    input.addEventListener("change", () => choose(colour));
  }
  const { input, dot } = swatch(place, OWN_TITLE, { type: "color", value: "#7f8ea3" });
  dot.className = "any";
  input.addEventListener("input", () => {
    for (const radio of place.querySelectorAll("input[type=radio]")) radio.checked = false;
    choose(input.value);
  });
}

/** @param {Element} place @param {string} name @param {object} properties of the input */
function swatch(place, name, properties) {
  const label = Object.assign(document.createElement("label"), { className: "swatch", title: name });
  const input = Object.assign(document.createElement("input"), properties);
  const dot = document.createElement("i");
  const text = Object.assign(document.createElement("span"), { className: "unseen", textContent: name });
  label.append(input, dot, text);
  place.append(label);
  return { input, dot };
}

/**
 * Gather changes and send them together, not too often; the last value always arrives.
 * @param {(changes: object) => void} send
 * @returns {(changes: object) => void}
 */
function paced(send) {
  let [gathered, waiting] = [{}, false];
  const flush = () => {
    if (!Object.keys(gathered).length) return void (waiting = false);
    send(gathered);
    gathered = {};
    waiting = true;
    setTimeout(flush, EVERY_MS);
  };
  return (changes) => {
    Object.assign(gathered, changes);
    if (!waiting) flush();
  };
}
