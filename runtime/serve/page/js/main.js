/**
 * Puts the page together. `?transport=ws|webrtc` chooses the way, `?measure=1` reads painted counters and tone bursts,
 * `?token=` is passed on. `window.marotte` is for measurements and tests.
 * @module
 */
import { Beside } from "./beside.js";
import { Compare } from "./compare.js";
import { Live } from "./live.js";
import { Measure } from "./measure.js";
import { Panel } from "./panel.js";
import { showSettings } from "./settings.js";
import { Sound } from "./sound.js";
import { Speech } from "./speech.js";
import { Stage } from "./stage.js";
import { toast } from "./toasts.js";

const query = new URLSearchParams(location.search);
const sound = new Sound();
const measure = query.get("measure") === "1" ? new Measure() : null;
const live = new Live({ sound, measure, wanted: query.get("transport") });
const besideMeasure = measure && new Measure();
const beside = new Beside(live, { sound, measure: besideMeasure });
const stage = new Stage(live, beside, sound);
const speech = new Speech(live, sound, stage, toast);
const panel = new Panel(live, beside, stage);
const compare = new Compare(live, beside);
showSettings(live);
document.body.classList.add("up");

let firstFrameMs = null;
const first = new Promise((resolve) => {
  live.addEventListener("first", () => resolve((firstFrameMs ??= performance.now())), { once: true });
});

live.addEventListener("trouble", ({ detail }) => toast(detail));
live.addEventListener("state", ({ detail }) => detail === "ended" && toast("this address needs its token: open the one that `marotte live` printed"));
addEventListener("pagehide", () => live.stop());
addEventListener("pageshow", (event) => event.persisted && live.resume());

window.marotte = {
  live,
  beside,
  compare,
  measure,
  besideMeasure,
  first,
  /** @param {File} file */
  say: (file) => speech.say(file),
  interrupt: () => speech.stop(),
  /** What is shown and heard now; times are milliseconds, moments are of `performance.now()`. */
  async stats() {
    const stats = (await live.transport?.stats()) ?? null;
    const [lastCounter, lastCounterAt] = measure?.counters.at(-1) ?? [null, null];
    return {
      transport: live.transport?.kind ?? null,
      state: live.state,
      session: live.id,
      settings: live.settings,
      audible: sound.audible,
      position: stage.position,
      firstFrameMs,
      ...panel.rates,
      lastCounter,
      lastCounterAt,
      ...stats,
      beside: beside.transport && { session: beside.id, settings: beside.settings, transport: beside.transport.kind, ...(await beside.transport.stats()) },
    };
  },
};

live.start();
