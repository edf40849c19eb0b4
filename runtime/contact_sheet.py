"""A contact sheet of an avatar: every action, blinks, jaw, gaze and head turns, each with its name.

Of one that only sound moves: poses of its recording, and its lids, in silence.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from marotte.models.gaussian_talker.config import CLASSES, STEPS
from marotte.runtime.arkit import ACTIONS, JAW_LEFT, JAW_OPEN, JAW_RIGHT, SLOT
from marotte.runtime.avatar import NO_BASIS, Avatar
from marotte.runtime.background import read_background
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import Camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, Renderer, RenderOptions, RenderStream
from marotte.runtime.join import features_for
from marotte.runtime.motion import HEAD, JAW, WIDTH, Motion
from marotte.runtime.splats import avatar_head
from marotte.runtime.talker_features import PHONES

if TYPE_CHECKING:
    from PIL import Image

COLUMNS = 8
# What a slow renderer shows of a FLAME avatar, in one row.
TELLING = (
    "neutral",
    "jaw 0.4",
    "jaw 0.7",
    "expression 0: +2",
    "expression 1: +2",
    "head left 30",
    "head up 30",
    "head tilted 30",
)
# How many poses of a recording are shown, and how far shut the lids.
_RECORDED, _LIDS = 8, (0.0, 0.5, 1.0)
# Of bytes: on what is darker, names are white.
_DARK = 96


class Pose(NamedTuple):
    """A picture: its name, codes [106], eyes [6] and eyelids [2]; frame: of the film that it is of."""

    name: str
    codes: np.ndarray
    eyes: np.ndarray
    eyelids: np.ndarray
    frame: int = 0


_RATE = Fraction(25)
_JAW_ACTIONS = {"jawOpen": JAW_OPEN, "jawLeft": JAW_LEFT, "jawRight": JAW_RIGHT}
# FLAME's expression components are of about unit deviation; so many of them are shown, both ways.
_FLAME_COMPONENTS, _FLAME_SHOWN = 10, 2.0


def poses(basis: str, lids: bool = False) -> list[Pose]:
    """Return each picture of the sheet. lids: the head has eyelids of its own, beside its expressions."""
    rows = [Pose("neutral", np.zeros(WIDTH), np.zeros(6), np.zeros(2))]

    def add(name: str, eyes: tuple[float, float] = (0.0, 0.0), shut: float = 0.0, **values: Any) -> None:
        codes = np.zeros(WIDTH)
        codes[HEAD], codes[JAW] = values.get("head", 0), values.get("jaw", 0)
        for slot, weight in values.get("slots", {}).items():
            codes[slot] = weight
        rows.append(Pose(name, codes, np.tile([*eyes, 0.0], 2), np.full(2, shut)))

    if basis == "arkit52":
        for name in ACTIONS:
            if name in _JAW_ACTIONS:
                add(name, jaw=_JAW_ACTIONS[name])
            elif name == "mouthClose":  # ARKit defines it as what shuts the lips of an open jaw
                add("mouthClose + jawOpen 0.5", jaw=JAW_OPEN / 2, slots={SLOT[name]: 0.5})
            else:
                add(name, slots={SLOT[name]: 1.0})
        for share in (0.25, 0.5, 0.75, 1.0):
            add(f"blink {share:g}", slots={SLOT["eyeBlinkLeft"]: share, SLOT["eyeBlinkRight"]: share})
    else:
        for slot in range(_FLAME_COMPONENTS):
            for weight in (-_FLAME_SHOWN, _FLAME_SHOWN):
                add(f"expression {slot}: {weight:+g}", slots={slot: weight})
    for share in (0.5, 1.0) if lids else ():
        add(f"lids {share:g}", shut=share)
    for share in (0.2, 0.4, 0.7):
        add(f"jaw {share:g}", jaw=JAW_OPEN * share)
    for name, eyes in {"up": (-0.3, 0), "down": (0.3, 0), "left": (0, 0.4), "right": (0, -0.4)}.items():
        add(f"gaze {name}", eyes=eyes)
    turns = {"left": (0, 1, 0), "right": (0, -1, 0), "up": (-1, 0, 0), "down": (1, 0, 0), "tilted": (0, 0, 1)}
    for name, axis in turns.items():
        add(f"head {name} 30", head=np.deg2rad(30) * np.array(axis))
    return rows


def recorded_poses(frames: int) -> list[Pose]:
    """Return each picture of the sheet of an avatar with a recording of so many frames at 25 fps."""
    codes, eyes = np.zeros(WIDTH), np.zeros(6)
    spread = np.unique(np.linspace(0, frames - 1, _RECORDED).round().astype(int)).tolist()
    rows = [Pose(f"frame {frame}", codes, eyes, np.zeros(2), frame) for frame in spread]
    return rows + [Pose(f"lids {shut:g}", codes, eyes, np.full(2, shut)) for shut in _LIDS]


def contact_sheet(
    avatar: Avatar,
    renderer: Renderer,
    *,
    size: int = 192,
    framing: str = "head",
    extra: Mapping[str, Any] | None = None,
    chosen: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> "Image.Image":
    """Return the sheet, `COLUMNS` pictures of `size` pixels in a row; those of a recording have its shape.

    extra: options for the renderer by name. chosen: the names of the poses to draw, None for all; progress: is called
    with how many are drawn, and of how many. Raises MarotteError where the avatar does not open.
    """
    from PIL import Image, ImageDraw

    if avatar.basis == NO_BASIS:
        rows = recorded_poses(_recorded_frames(avatar))
        width, height = (max(round(side * size / max(avatar.size)), 1) for side in avatar.size)
    else:
        lids = avatar.basis != "arkit52" and bool(avatar.head) and avatar_head(avatar).eyelid_fields is not None
        rows, width, height = poses(avatar.basis, lids), size, size
    rows = [row for row in rows if chosen is None or row.name in chosen]
    with _with_silence(avatar, extra or {}) as options:
        stream = renderer.open(avatar, RenderOptions(width, height, extra=options))
        heard = _silence(avatar, stream)
    camera = stream.camera or avatar.framing(framing).camera(stream.width, stream.height)
    sheet = Image.new("RGB", (COLUMNS * stream.width, -(-len(rows) // COLUMNS) * stream.height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, pixels in enumerate(_pictures(avatar, renderer, stream, camera, rows, heard)):
        corner = index % COLUMNS * stream.width, index // COLUMNS * stream.height
        sheet.paste(Image.fromarray(pixels), corner)
        dark = pixels[: size // 12, : size // 2].mean() < _DARK
        draw.text((corner[0] + 4, corner[1] + 2), rows[index].name, fill="white" if dark else "black")
        if progress is not None:
            progress(index + 1, len(rows))
    stream.close()
    return sheet


def _pictures(
    avatar: Avatar,
    renderer: Renderer,
    stream: RenderStream,
    camera: Camera,
    rows: list[Pose],
    heard: np.ndarray | None,
) -> Iterator[np.ndarray]:
    bridge = Bridge(avatar, camera)
    backdrop = read_background(avatar.background, stream.width, stream.height)
    # What reads no expressions takes lids of any basis.
    basis = avatar.basis if avatar.basis != NO_BASIS else "arkit52"
    for row in rows:
        stream.reset()  # each picture stands for itself
        motion = Motion(row.codes[None], _RATE, basis, eyes=row.eyes[None], eyelids=row.eyelids[None])
        ticks = frame_ticks(row.frame, row.frame + 1, _RATE)
        drive = Drive(ticks, bridge.head_state(motion), bridge.cameras(motion), backdrop, heard)
        yield renderer.submit([(stream, drive)]).result()[0].pixels[0]


def _recorded_frames(avatar: Avatar) -> int:
    from marotte.runtime.avatars.talker import talker_files
    from marotte.runtime.recording import read_recording

    files = talker_files(avatar)
    return len(read_recording(files.data, files.frames))


@contextmanager
def _with_silence(avatar: Avatar, extra: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give an avatar that hears what nobody here can make a moment of recorded silence to open with."""
    if avatar.basis != NO_BASIS or avatar.features in ("", PHONES) or "features" in extra:
        yield dict(extra)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silence.npy"
        np.save(path, np.zeros((1, STEPS, CLASSES)), allow_pickle=False)
        yield {**extra, "features": str(path)}


def _silence(avatar: Avatar, stream: RenderStream) -> np.ndarray | None:
    """Return a frame's features [1, window, width] that hear nothing, where the stream needs some."""
    if stream.features is None:
        return None
    return np.zeros((1, stream.features.window, features_for(stream.features, avatar.name).width), np.float32)
