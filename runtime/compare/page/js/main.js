/**
 * Puts the report together. `window.report` is for measurements and tests.
 * @module
 */
import { Film } from "./film.js";
import { Pair } from "./pair.js";
import { Players, Transport } from "./players.js";
import { Plots } from "./plots.js";

const data = JSON.parse(document.getElementById("data").textContent);
const film = new Film(data, document.getElementById("film"));
const players = new Players(film, data.cells);
const transport = new Transport(film);
const pair = data.cells.length > 1 ? new Pair(film, data) : null;
const plots = new Plots(film, data);

for (const link of document.querySelectorAll("a[data-seconds]")) {
  link.addEventListener("click", () => {
    film.video.pause();
    film.seek(Number(link.dataset.seconds) * film.fps);
  });
}
film.addEventListener("trouble", () => {
  const trouble = document.getElementById("trouble");
  trouble.textContent = "This browser cannot play the film (H.264 and AAC in MP4): open the report with another, or the films beside it.";
  trouble.hidden = false;
});

// What is folded away belongs on paper too.
const folded = [];
addEventListener("beforeprint", () => {
  folded.push(...document.querySelectorAll("details:not([open])"));
  for (const each of folded) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of folded.splice(0)) each.open = false;
});

film.addEventListener("ready", () => (window.report.readyMs = performance.now()), { once: true });
window.report = { film, players, transport, pair, plots, readyMs: null };
