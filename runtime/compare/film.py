"""A film that exists already, as an arm or as the reference: its pictures at any rate, and its sound on their clock.

A film's time 0 is its first picture's. All times are those that a player keeps: frames stay until the next one is due,
whatever the distances between them; pictures are turned as the file's rotation says, and pixels that are not square
made so.
"""

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.video.ffmpeg import Child, file_url, run_ffmpeg
from marotte.runtime.video.probe import scan

# A playlist in disguise must not reach for the network.
_INPUT = ["-protocol_whitelist", "file,pipe", "-copyts"]
# Without cover pictures, which `v` counts in.
_PICTURE, _SOUND = "0:V:0", "0:a:0"
_SQUARE = "scale=w='max(1,round(iw*sar))':h=ih:flags=bicubic,setsar=1"
_ALPHA = re.compile(r"rgba|bgra|argb|abgr|ya|yuva|gbrap|pal8")
# Files whose clock ticks in milliseconds round by half of one: a frame that is late by no more is in time. GIF's clock
# ticks in hundredths.
_LATE_US, _LATE_GIF_US = 600, 5500
# From so many rows on, players take colours that are not tagged for BT.709, and below for BT.601.
_HD_ROWS = 720
# Seconds: less than the first is rounding of containers and encoders, more than the second a lost end.
_NEAR_S, _SHORT_S = 0.1, 0.5


class Film:
    """A film's file, opened: nothing but its first picture is decoded, and its packets are counted.

    width, height: of a picture as it is shown. fps: the rate that the file names; the frames of a film of changing rate
    come as they like. duration: seconds from its first picture to the end of its last. has_sound: whether it has a
    sound track. notes: what a user should know, a line each. Where pictures are transparent a background is laid
    behind them, RGB, 0 to 255. Raises MarotteError where it cannot be read or holds no picture.
    """

    def __init__(self, path: str | Path, background: tuple[int, int, int] = (0, 0, 0)) -> None:
        self.path = Path(path)
        self._background = np.array(background, np.uint16)
        _check_file(self.path)
        text = self._look()
        tick, rate = _found(self.path, r"config in time_base: (\d+/\d+), frame_rate: (\d+/\d+)", text)
        first, kind, width, height = _found(self.path, r" pts: *(-?\d+) .*?fmt:(\w+) .*? s:(\d+)x(\d+) ", text)
        self.width, self.height = int(width), int(height)
        self._tick = Fraction(tick)
        self._start = int(first) * self._tick
        self._alpha = bool(self._decoder) or _ALPHA.match(kind) is not None
        self._untagged_hd = "color_space:unknown" in text and self.height >= _HD_ROWS
        tracks = scan(self.path, _PICTURE, _SOUND + "?", decode=False)
        self.has_sound = "audio" in tracks
        rate_named = Fraction(rate) if not rate.startswith("0") and not rate.endswith("/0") else Fraction(0)
        there = tracks["video"].end - self._start
        self.fps = rate_named or Fraction(tracks["video"].count) / max(there, self._tick)
        self.duration = float(max(there, self._tick))
        self.notes = tuple(self._faults(text, max(track.end for track in tracks.values())))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures."""
        return self.width, self.height

    def frame_count(self, fps: Fraction, start: float = 0.0) -> int:
        """Return how many frames of `fps` a second it has from `start` seconds on."""
        return max(0, math.ceil((self.duration - start) * fps - Fraction(1, 1000)))

    def length_note(self, seconds: float, start: float = 0.0) -> str:
        """Return a line where its length from `start` seconds on is not `seconds`; else an empty one."""
        length = max(self.duration - start, 0.0)
        if abs(length - seconds) < _NEAR_S:
            return ""
        what = "is not compared" if length > seconds else "shows nothing"
        from_where = f" from second {start:g} on" if start else ""
        return (
            f"{self.path.name} lasts {length:.2f} s{from_where} and the sound {seconds:.2f} s: after "
            f"{min(length, seconds):.2f} s it {what}"
        )

    def frames(self, fps: Fraction, start: float = 0.0, count: int | None = None) -> Iterator[np.ndarray]:
        """Yield uint8 [H, W, 3] RGB: picture i is what a player shows at start + i / fps seconds of the film.

        They end where the film does, or after `count`. They are decoded as they are taken, those before `start` too.
        Raises MarotteError where the file cannot be decoded, or the decoder breaks off.
        """
        late = _LATE_GIF_US if self._tick == Fraction(1, 100) else _LATE_US
        shift = round((self._start + Fraction(start)) * 1_000_000) + late
        matrix = ":in_color_matrix=bt709" if self._untagged_hd else ""
        chain = [
            "settb=AVTB",
            f"setpts=PTS-{shift}" if shift >= 0 else f"setpts=PTS+{-shift}",
            f"fps=fps={fps.numerator}/{fps.denominator}:start_time=0:round=up",
            # Pictures of another size within the film are brought to the first one's.
            f"scale={self.width}:{self.height}:flags=bicubic+accurate_rnd+full_chroma_int{matrix}",
            f"format={'rgba' if self._alpha else 'rgb24'}",
        ]
        limit = [] if count is None else ["-frames:v", str(count)]
        size = (self.height, self.width, 4 if self._alpha else 3)
        if count == 0:
            return
        child = Child(
            [
                *["-loglevel", "error", *_INPUT, *self._decoder, "-i", file_url(self.path), "-map", _PICTURE],
                *["-vf", ",".join(chain), "-fps_mode", "passthrough", *limit, "-f", "rawvideo", "-"],
            ]
        )
        given = 0
        try:
            while len(data := child.stdout.read(math.prod(size))) == math.prod(size):
                yield self._laid(np.frombuffer(data, np.uint8).reshape(size))
                given += 1
            if child.wait():
                at = start + given / fps
                raise MarotteError(f"{self.path} cannot be decoded from second {at:.2f} on: {child.complaint()}")
        finally:
            child.kill()

    def sound(self, start: float = 0.0, seconds: float | None = None) -> np.ndarray | None:
        """Return its sound [n] float32 at 16 kHz, mono, from `start` seconds after the first picture on.

        Where the track begins later there is silence before it, where it began earlier that is cut off; gaps within are
        silent. None without a sound track. Raises MarotteError where it cannot be decoded.
        """
        if not self.has_sound:
            return None
        begin = self._start + Fraction(start)
        length = [] if seconds is None else [f"atrim=duration={seconds:.6f}"]
        chain = [
            f"atrim=start={float(begin):.6f}",
            f"asetpts=PTS-({float(begin):.6f})/TB",
            f"aresample={SAMPLE_RATE}:async=1:first_pts=0",
            *length,
        ]
        done = run_ffmpeg(
            [
                *["-loglevel", "error", *_INPUT, "-i", file_url(self.path), "-map", _SOUND, "-af", ",".join(chain)],
                *["-ac", "1", "-f", "f32le", "-"],
            ]
        )
        if done.status:
            raise MarotteError(f"the sound of {self.path} cannot be decoded: {done.complaint}")
        samples = np.frombuffer(done.stdout, "<f4").astype(np.float32)
        return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)

    def _look(self) -> str:
        """Return what ffmpeg says of the first picture; find the decoder on the way."""
        self._decoder: list[str] = []
        text = self._first()
        codec = re.search(r"Stream #0:\d+.*?: Video: (vp[89])", text)
        if codec and re.search(r"(?i)alpha_mode\s*: 1", text):
            # ffmpeg's own decoders drop the alpha plane, which is a second stream.
            self._decoder = ["-c:v", "libvpx-vp9" if codec[1] == "vp9" else "libvpx"]
            text = self._first()
        return text

    def _first(self) -> str:
        shown = ["-map", _PICTURE, "-frames:v", "1", "-vf", f"{_SQUARE},showinfo", "-f", "null", "-"]
        done = run_ffmpeg([*_INPUT, *self._decoder, "-i", file_url(self.path), *shown])
        text = "\n".join(done.stderr_lines)
        if " pts:" not in text:
            why = "it holds no picture" if "matches no streams" in text else done.complaint
            raise MarotteError(f"{self.path} is not a film that can be read: {why}; give an mp4, webm or mov file")
        return text

    def _faults(self, text: str, there: Fraction) -> Iterator[str]:
        if not self.has_sound:
            yield f"{self.path.name} has no sound"
        promised = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+), start: (-?\d+\.\d+)", text)
        if promised:
            hours, minutes, rest, begin = map(float, promised.groups())
            end = begin + 3600 * hours + 60 * minutes + rest
            if end - float(there) > _SHORT_S:
                yield f"{self.path.name} is damaged or cut short: {end - float(there):.2f} s are missing at its end"

    def _laid(self, pixels: np.ndarray) -> np.ndarray:
        if not self._alpha:
            return pixels
        share = pixels[..., 3:].astype(np.uint16)
        return ((pixels[..., :3] * share + self._background * (255 - share) + 127) // 255).astype(np.uint8)


def _found(path: Path, pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    if not found:
        raise MarotteError(f"{path} is not a film that can be read: it has no times; export it again")
    return found.groups()


def _check_file(path: Path) -> None:
    if not path.exists():
        raise MarotteError(f"{path} does not exist: check the path of the film")
    if not path.is_file():
        raise MarotteError(f"{path} is not a plain file: give a film, such as an mp4 file")
    if path.stat().st_size == 0:
        raise MarotteError(f"{path} is empty (0 bytes): record or export it again")
