"""A contact sheet of an avatar: every action, blinks, jaw, gaze and head turns, each with its name."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from marotte.runtime.arkit import ACTIONS, JAW_LEFT, JAW_OPEN, JAW_RIGHT, SLOT
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import read_background
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import Camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, Renderer, RenderOptions, RenderStream
from marotte.runtime.motion import HEAD, JAW, WIDTH, Motion
from marotte.runtime.splats import avatar_head

if TYPE_CHECKING:
    from PIL import Image

COLUMNS = 8


class Pose(NamedTuple):
    """A picture: its name, codes [106], eyes [6] and eyelids [2]."""

    name: str
    codes: np.ndarray
    eyes: np.ndarray
    eyelids: np.ndarray


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


def contact_sheet(
    avatar: Avatar,
    renderer: Renderer,
    *,
    size: int = 192,
    framing: str = "head",
    extra: Mapping[str, Any] | None = None,
) -> "Image.Image":
    """Return the sheet, `COLUMNS` pictures of `size` pixels in a row.

    extra: options for the renderer by name. Raises MarotteError where the avatar does not open.
    """
    from PIL import Image, ImageDraw

    lids = avatar.basis != "arkit52" and bool(avatar.head) and avatar_head(avatar).eyelid_fields is not None
    rows = poses(avatar.basis, lids)
    stream = renderer.open(avatar, RenderOptions(size, size, extra=extra or {}))
    camera = stream.camera or avatar.framing(framing).camera(stream.width, stream.height)
    sheet = Image.new("RGB", (COLUMNS * stream.width, -(-len(rows) // COLUMNS) * stream.height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, pixels in enumerate(_pictures(avatar, renderer, stream, camera, rows)):
        corner = index % COLUMNS * stream.width, index // COLUMNS * stream.height
        sheet.paste(Image.fromarray(pixels), corner)
        draw.text((corner[0] + 4, corner[1] + 2), rows[index].name, fill="black")
    stream.close()
    return sheet


def _pictures(
    avatar: Avatar, renderer: Renderer, stream: RenderStream, camera: Camera, rows: list[Pose]
) -> Iterator[np.ndarray]:
    bridge = Bridge(avatar, camera)
    backdrop = read_background(avatar.background, stream.width, stream.height)
    for row in rows:
        stream.reset()  # each picture stands for itself
        motion = Motion(row.codes[None], _RATE, avatar.basis, eyes=row.eyes[None], eyelids=row.eyelids[None])
        drive = Drive(frame_ticks(0, 1, _RATE), bridge.head_state(motion), bridge.cameras(motion), backdrop)
        yield renderer.submit([(stream, drive)]).result()[0].pixels[0]
