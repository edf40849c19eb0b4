"""How well an avatar is drawn: tracked frames rendered and compared with their pictures.

As published, a picture is composited on the background with its mask, and the avatar is drawn on the same background
with the frame's own camera and FLAME parameters. What is compared are the renderer's bytes (rounded to the nearest)
over 255 with the composited picture in floats: rounding limits PSNR to about 59 dB, far above any trained avatar. The
published code compares floats, and saves pictures that are truncated to bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError
from marotte.models.splatting_config import SplattingConfig, read_config
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background, read_background
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, Renderer, RenderOptions, RenderStream
from marotte.runtime.offline import Progress
from marotte.runtime.picture_metrics import Lpips, psnr, ssim
from marotte.runtime.tracked_frames import Picture, TrackedFrames

SPLITS = ("test", "train", "all")
# Names of the measures, whether more is better, and what they are measured in.
MEASURES = {"psnr": (True, "dB"), "ssim": (True, ""), "lpips": (False, ""), "psnr_masked": (True, "dB")}
_CONFIG = "config.yaml"
_PERSON = 0.5
# Of ticks, which pictures do not depend on.
_RATE = Fraction(25)


@dataclass(frozen=True)
class FrameScore:
    """What one frame scores. frame: its number in the data; psnr_masked: over the mask's pixels; None: not measured."""

    frame: int
    name: str
    psnr: float
    ssim: float
    lpips: float | None = None
    psnr_masked: float | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """A frame beside its picture: render and truth float32 [H, W, 3] in 0..1."""

    score: FrameScore
    render: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Scores of the frames in order. split, notes: which frames these are, sentences. worst: by PSNR, worst first."""

    avatar: str
    split: str
    background: str
    scores: tuple[FrameScore, ...]
    worst: tuple[Comparison, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def measured(self) -> dict[str, np.ndarray]:
        """Return the values [T] of each measure that was taken."""
        columns = {name: [getattr(score, name) for score in self.scores] for name in MEASURES}
        return {name: np.array(values, float) for name, values in columns.items() if None not in values}

    def summary(self) -> dict[str, dict[str, float]]:
        """Return mean, median and worst of each measure."""
        return {
            name: {
                "mean": float(values.mean()),
                "median": float(np.median(values)),
                "worst": float(values.min() if MEASURES[name][0] else values.max()),
            }
            for name, values in self.measured().items()
        }


def published_split(avatar: Avatar, count: int, split: str) -> tuple[list[int], list[str]]:
    """Return the frames of a split of `count`, and what should be said about it.

    As published: with k = num_for_train of the avatar's config.yaml (-350 where there is none), train is [:k] and test
    [k:], as Python slices. Raises MarotteError for a split without frames.
    """
    if split not in SPLITS:
        raise MarotteError(f"split {split!r} is unknown: use {', '.join(SPLITS)}")
    frames = list(range(count))
    if split == "all":
        return frames, []
    config = training_config(avatar)
    k = (config or SplattingConfig()).num_for_train
    train, test = frames[:k], frames[k:]
    chosen = train if split == "train" else test
    notes = []
    if config is None:
        notes.append(f"the avatar has no {_CONFIG}: the published default num_for_train = {k} is taken")
    if not train:
        notes.append(
            f"num_for_train = {k} leaves no frame of {count} to train on, as published: all are test, so these may be "
            "frames that the avatar was trained on"
        )
    if not chosen:
        raise MarotteError(
            f"the {split} split has no frame: num_for_train = {k} of {count} frames; take another (--split all)"
        )
    return chosen, notes


def training_config(avatar: Avatar) -> SplattingConfig | None:
    """Return the settings that an avatar was trained with, None where its config.yaml is not there."""
    splats = avatar.path / avatar.splats
    places = (splats, splats.parent, splats.parent.parent, avatar.path)
    found = next((place / _CONFIG for place in places if (place / _CONFIG).is_file()), None)
    return None if found is None else read_config(found)


def evaluate(
    tracked: TrackedFrames,
    renderer: Renderer,
    *,
    split: str = "test",
    every: int = 1,
    background: str = "white",
    variant: str | None = None,
    lpips: Lpips | None = None,
    worst: int = 4,
    progress: Progress | None = None,
) -> Evaluation:
    """Render tracked frames and compare them with their pictures.

    every: takes each so-many-th frame of the split. background: a colour. worst: how many comparisons to keep.
    Raises MarotteError where the renderer cannot be given these cameras, or files do not fit together.
    """
    avatar = tracked.head.avatar
    if every < 1 or worst < 0:
        raise MarotteError(f"every {every}, worst {worst}: take each 1st frame or fewer, show 0 or more")
    frames, notes = published_split(avatar, len(tracked), split)
    frames = frames[::every]
    behind = read_background(background, 1, 1)
    if behind.transparent or behind.image is not None:
        raise MarotteError(f"background {background!r}: the pictures are composited on a colour, such as white")
    if renderer.needs.features is not None:
        raise MarotteError(f"the renderer of {avatar.name} hears the sound, which tracked frames do not have")
    scores: list[FrameScore] = []
    kept: list[Comparison] = []
    masked = True
    with _Studio(tracked, renderer, behind, variant) as studio:
        for done, (frame, picture) in enumerate(zip(frames, tracked.read(frames), strict=True), 1):
            masked = masked and picture.mask is not None
            compared = _compared(tracked, frame, picture, studio.render(frame), behind, lpips)
            scores.append(compared.score)
            kept = sorted([*kept, compared], key=lambda each: each.score.psnr)[:worst]
            if progress is not None:
                progress(done, len(frames))
    if not masked:
        notes.append("there are no masks (fourth channel, or a folder mask beside): the whole picture is compared")
    return Evaluation(avatar.name, split, background, tuple(scores), tuple(kept), tuple(notes))


def _compared(
    tracked: TrackedFrames,
    frame: int,
    picture: Picture,
    render: np.ndarray,
    behind: Background,
    lpips: Lpips | None,
) -> Comparison:
    truth = picture.over(behind.colour)
    score = FrameScore(
        frame=frame,
        name=tracked.track.names[frame],
        psnr=psnr(render, truth),
        ssim=ssim(render, truth),
        lpips=None if lpips is None else lpips(render, truth),
        psnr_masked=None if picture.mask is None else psnr(render, truth, picture.mask > _PERSON),
    )
    return Comparison(score, render, truth)


class _Studio:
    """Draws tracked frames; one stream for each size of picture."""

    def __init__(self, tracked: TrackedFrames, renderer: Renderer, behind: Background, variant: str | None) -> None:
        self._tracked, self._renderer, self._behind = tracked, renderer, behind
        self._extra = {"variant": variant} if variant else {}
        self._streams: dict[tuple[int, int], RenderStream] = {}

    def __enter__(self) -> "_Studio":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def render(self, frame: int) -> np.ndarray:
        """Return float32 [H, W, 3] in 0..1 of a frame."""
        camera = self._tracked.cameras[frame]
        stream = self._stream(camera.width, camera.height)
        ticks = frame_ticks(frame, frame + 1, _RATE)
        drive = Drive(ticks, self._tracked.state([frame]), (camera,), self._behind)
        pixels = self._renderer.submit([(stream, drive)]).result()[0].pixels[0]
        return pixels.astype(np.float32) / 255

    def _stream(self, width: int, height: int) -> RenderStream:
        if (width, height) not in self._streams:
            avatar = self._tracked.head.avatar
            stream = self._renderer.open(avatar, RenderOptions(width, height, extra=self._extra))
            self._streams[width, height] = stream
            if stream.camera is not None or (stream.width, stream.height) != (width, height):
                raise MarotteError(
                    f"the renderer of {avatar.name} has a camera or a size of its own: it cannot be given the "
                    "tracked cameras"
                )
        return self._streams[width, height]


def lines(result: Evaluation) -> Iterator[str]:
    """Yield what a person should read: one line for each measure, then the worst frame, then the notes."""
    count = len(result.scores)
    frames = f"{count} frame{'s' if count != 1 else ''} of the split {result.split}"
    yield f"{result.avatar}: {frames}, on {result.background}"
    for name, figures in result.summary().items():
        unit = MEASURES[name][1]
        digits = 2 if unit else 4
        text = ", ".join(f"{key} {value:.{digits}f}" for key, value in figures.items())
        yield f"  {name:<12} {text}{f' {unit}' if unit else ''}"
    lowest = min(result.scores, key=lambda score: score.psnr)
    yield f"  worst        {lowest.name} (frame {lowest.frame}): {lowest.psnr:.2f} dB, SSIM {lowest.ssim:.4f}"
    yield from (f"  note         {note}" for note in result.notes)


def columns(scores: Sequence[FrameScore]) -> list[str]:
    """Return the measures that were taken of every frame."""
    return [name for name in MEASURES if all(getattr(score, name) is not None for score in scores)]
