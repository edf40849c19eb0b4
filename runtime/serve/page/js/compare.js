/**
 * The comparison on the page: the choice of the second arm, which arms are shown and how, and what they are called.
 * @module
 */
import { toast } from "./toasts.js";

const VIEW = "marotte.view";
const REST_MS = 450;
// What is compared with first, unless it is what the first arm has.
const OTHERS = ["acoustic", "viseme"];
const KEYS = { 1: "a", 2: "b", 3: "both", 4: "wipe" };
/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** Shows both arms, or one. The first arm is the page's own session, the second the one beside it. */
export class Compare {
  /** Whether the second arm is A. */
  swapped = false;
  view = localStorage.getItem(VIEW) ?? "both";

  /** @param {import("./live.js").Live} live @param {import("./beside.js").Beside} beside */
  constructor(live, beside) {
    Object.assign(this, { live, beside });
    get("b-go").addEventListener("click", () => {
      if (beside.wish) return beside.close();
      beside.open(wished());
      get("stage").scrollIntoView({ block: "nearest" });
    });
    for (const name of ["b-avatar", "b-driver", "b-variant"]) {
      get(name).addEventListener("change", () => {
        if (name === "b-avatar") this.#fillVariants(get(name).value);
        clearTimeout(this.resting);
        this.resting = setTimeout(() => beside.wish && beside.open(wished()), REST_MS);
      });
    }
    get("b-expressiveness").addEventListener("input", ({ target }) => {
      sayValue(target);
      beside.set({ expressiveness: Number(target.value) });
    });
    get("compare").addEventListener("submit", (event) => event.preventDefault());
    for (const radio of document.querySelectorAll("input[name=view]")) {
      radio.addEventListener("change", () => this.show(radio.value));
    }
    get("swap").addEventListener("click", () => this.swap());
    get("wipe").addEventListener("input", () => this.#wipe());
    document.addEventListener("keydown", (event) => this.#key(event));
    live.addEventListener("settings", () => this.#fill());
    beside.addEventListener("change", () => this.#follow());
    beside.addEventListener("trouble", ({ detail }) => toast(`the second face: ${detail}`));
    get("compare-card").open ||= Boolean(beside.wish); // found again after a reload, it can be stopped
    this.#follow();
    this.#wipe();
  }

  /** @param {"a" | "b" | "both" | "wipe"} view */
  show(view) {
    this.view = view;
    localStorage.setItem(VIEW, view);
    this.#lay();
  }

  /** Let A be B. */
  swap() {
    this.swapped = !this.swapped;
    this.#lay();
  }

  #follow() {
    const { state, reason, wish } = this.beside;
    const on = Boolean(wish);
    get("b-go").setAttribute("aria-pressed", String(on));
    get("b-go").textContent = on ? "Stop comparing" : "Compare";
    get("b-state").textContent = state === "opening" ? "The second face is on its way" : reason;
    if (state === "failed") toast(`the second face: ${reason}`);
    get("screen-b").dataset.state = state;
    this.#fill();
    this.#lay();
  }

  /** Lay the panes as the view wants them; nothing of their connections changes. */
  #lay() {
    const on = Boolean(this.beside.wish);
    const view = on ? this.view : "a";
    const swapped = on && this.swapped;
    get("stage").dataset.view = view;
    get("views").hidden = !on;
    get("wipe-row").hidden = view !== "wipe";
    for (const [pane, letter] of [["pane-a", swapped ? "b" : "a"], ["pane-b", swapped ? "a" : "b"]]) {
      const unseen = (pane === "pane-b" && !on) || (view !== letter && (view === "a" || view === "b"));
      get(pane).dataset.letter = letter;
      get(pane).toggleAttribute("inert", unseen);
      get(pane).setAttribute("aria-hidden", String(unseen));
    }
    get("pane-b").hidden = !on;
    get("name-a").hidden = !on;
    const arms = [this.live.settings, this.beside.settings ?? this.beside.wish ?? {}];
    const [first, second] = named(arms, this.live.options);
    get("name-a").textContent = `${swapped ? "B" : "A"} · ${first}`;
    get("name-b").textContent = `${swapped ? "A" : "B"} · ${second}`;
    const chosen = document.querySelector(`input[name=view][value=${view}]`);
    if (chosen && on) chosen.checked = true;
  }

  #wipe() {
    get("stage").style.setProperty("--wipe", `${get("wipe").value}%`);
  }

  #key(event) {
    const typing = event.target.closest?.("select, input:not([type=radio], [type=range])");
    if (typing || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (!this.beside.wish) return;
    if (event.key.toLowerCase() === "x") this.swap();
    else if (Object.hasOwn(KEYS, event.key)) this.show(KEYS[event.key]);
  }

  /** Put the choices into the form: what is, or else another driver than the first arm's. */
  #fill() {
    const { options, settings } = this.live;
    if (!options || !settings.avatar) return;
    const wish = this.beside.wish;
    const fresh = !get("b-avatar").options.length;
    if (fresh) {
      get("b-avatar").replaceChildren(...options.avatars.map(({ name, title }) => new Option(title, name)));
      get("b-driver").replaceChildren(...options.drivers.map((name) => new Option(name, name)));
    }
    if (!fresh && !wish) return this.#lay();
    get("b-avatar").value = wish?.avatar ?? settings.avatar;
    get("b-driver").value = wish?.driver ?? otherDriver(options.drivers, settings.driver);
    this.#fillVariants(get("b-avatar").value, wish ? wish.variant : settings.variant);
    [get("b-expressiveness").min, get("b-expressiveness").max] = options.ranges.expressiveness.map(String);
    get("b-expressiveness").value = String(wish?.expressiveness ?? settings.expressiveness);
    sayValue(get("b-expressiveness"));
    this.#lay();
  }

  #fillVariants(avatar, chosen) {
    const variants = this.live.options.avatars.find(({ name }) => name === avatar)?.variants ?? [];
    const now = chosen === undefined ? get("b-variant").value || null : chosen;
    get("b-variant").replaceChildren(new Option("full", ""), ...variants.map((name) => new Option(name, name)));
    get("b-variant").value = variants.includes(now) ? now : "";
  }
}

/** @param {string[]} drivers @param {string} first @returns {string} one that needs nothing more, and is not the first */
const otherDriver = (drivers, first) => OTHERS.find((name) => name !== first && drivers.includes(name)) ?? first;

/** @returns {import("./beside.js").Wish} what the form asks for */
function wished() {
  const { value: variant } = get("b-variant");
  const expressiveness = Number(get("b-expressiveness").value);
  return { avatar: get("b-avatar").value, driver: get("b-driver").value, variant: variant || null, expressiveness };
}

/** @param {HTMLInputElement} slider */
function sayValue(slider) {
  slider.previousElementSibling.textContent = Number(slider.value).toFixed(1);
}

/** @param {any[]} arms settings of two @param {any} options @returns {string[]} what to call them: by what differs */
function named(arms, options) {
  const words = arms.map(({ avatar, driver, variant, expressiveness }) => [
    options?.avatars.find(({ name }) => name === avatar)?.title ?? avatar,
    driver,
    variant ?? "full",
    `expressiveness ${expressiveness}`,
  ]);
  const differ = words[0].map((word, index) => word !== words[1][index]);
  return words.map((mine) => mine.filter((_, index) => differ[index] || (index < 2 && !differ.includes(true))).join(" · "));
}
