/**
 * The one film that all players show, and the clock of the page: frames counted from 0.
 * Events: `shown` (another frame is there), `state` (playing or not, muted, looped).
 * @module
 */

/** Return the film as bytes: a Blob can be sought in, whatever the file's own address is. @param {string} text base64 */
function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export class Film extends EventTarget {
  #sent = null; // where the browser was last sent

  /** @param {{fps: number, frames: number, film: string | null}} data @param {HTMLScriptElement} holder of its base64 */
  constructor(data, holder) {
    super();
    this.fps = data.fps;
    this.frames = data.frames;
    this.frame = 0;
    this.ready = false;
    this.target = null; // the frame that is sought, while it is
    const video = (this.video = document.createElement("video"));
    video.preload = "auto";
    video.playsInline = true;
    video.src = data.film ?? URL.createObjectURL(new Blob([bytes(holder.textContent.trim())], { type: "video/mp4" }));
    holder.remove();
    video.addEventListener("loadeddata", () => this.#come());
    video.addEventListener("seeked", () => this.#sought());
    for (const name of ["play", "pause", "ended", "volumechange"]) video.addEventListener(name, () => this.#tell("state"));
    video.addEventListener("error", () => this.#tell("trouble"));
    this.#follow();
  }

  get playing() {
    return !this.video.paused && !this.video.ended;
  }

  /** Show a frame. While one is being sought, only the last of those wanted is remembered. @param {number} frame */
  seek(frame) {
    this.target = Math.min(Math.max(Math.round(frame), 0), this.frames - 1);
    if (this.ready && !this.video.seeking) this.#go();
  }

  /** @param {number} frames */
  step(frames) {
    this.video.pause();
    this.seek((this.target ?? this.frame) + frames);
  }

  toggle() {
    if (this.playing) this.video.pause();
    else this.video.play().catch(() => this.#tell("state"));
  }

  #come() {
    this.ready = true;
    this.#tell("ready");
    this.#show(this.video.currentTime);
    if (this.target !== null) this.#go();
  }

  #go() {
    this.#sent = this.target;
    this.video.currentTime = (this.target + 0.5) / this.fps;
  }

  #sought() {
    if (this.target !== this.#sent) {
      this.#go();
      return;
    }
    this.target = this.#sent = null;
    this.#show(this.video.currentTime);
  }

  /** Show each frame as the browser presents it; a browser that does not say so is asked at each of its own. */
  #follow() {
    const video = this.video;
    if (video.requestVideoFrameCallback) {
      const next = (_, frame) => {
        this.#show(frame.mediaTime);
        video.requestVideoFrameCallback(next);
      };
      video.requestVideoFrameCallback(next);
      return;
    }
    const next = () => {
      if (this.playing) this.#show(video.currentTime);
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  /** @param {number} seconds anywhere in the frame that is shown, or its very start */
  #show(seconds) {
    if (!this.ready) return;
    this.frame = Math.min(Math.max(Math.floor(seconds * this.fps + 0.25), 0), this.frames - 1);
    this.#tell("shown");
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
