"""The film of a verification: the avatar's mesh and landmarks over each picture, with the error of each frame."""

from fractions import Fraction
from pathlib import Path

import numpy as np

import marotte
from marotte.errors import MarotteError
from marotte.runtime.clock import frame_ticks
from marotte.runtime.frames import Frames, to_bytes
from marotte.runtime.offline import Progress
from marotte.runtime.tracked_frames import TrackedFrames
from marotte.runtime.verify import Verification
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink

_RATE = Fraction(25)
# Smaller pictures are enlarged to this height, larger ones are made smaller.
_HEIGHT = 640
_MESH, _OUTLINE = (80, 190, 255, 70), (255, 70, 200, 255)
_ASKED, _SEEN, _ERROR = (60, 225, 90, 255), (255, 255, 255, 255), (255, 90, 70, 255)
_SOUND, _OFF = (170, 255, 180, 255), (255, 140, 120, 255)
_MOST = 1e5


def write_overlay(result: Verification, out: str | Path, *, progress: Progress | None = None) -> None:
    """Write the film. Blue: mesh. Magenta: the mask's edge. Green rings: landmarks projected, white crosses: seen.

    Raises MarotteError where there is nothing to draw, or it cannot be written.
    """
    if result.tracked is None:
        raise MarotteError(f"nothing to draw on {out}: the cameras cannot be read ({result.unreadable})")
    tracked = result.tracked
    edges = _edges(np.asarray(tracked.head.model.faces))
    first = tracked.cameras[result.frames[0]]
    scale = _HEIGHT / first.height
    width, height = (2 * max(round(side * scale / 2), 1) for side in (first.width, first.height))
    fps = tracked.track.fps or _RATE
    provenance = Provenance(f"marotte {marotte.__version__}", result.avatar.name, result.avatar.sha256)
    with open_sink(out, width=width, height=height, fps=fps, provenance=provenance) as sink:
        for row, picture in enumerate(tracked.read(result.frames)):
            pixels = _drawn(result, tracked, row, picture.rgb, picture.mask, edges, (width, height))
            sink.write(Frames(frame_ticks(row, row + 1, fps), pixels[None]))
            if progress is not None:
                progress(row + 1, len(result.frames))


def _drawn(
    result: Verification,
    tracked: TrackedFrames,
    row: int,
    rgb: np.ndarray,
    mask: np.ndarray | None,
    edges: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """Return uint8 [H, W, 3] of the frame in a row of the verification."""
    from PIL import Image, ImageDraw

    frame = result.frames[row]
    camera = tracked.cameras[frame]
    scale = np.array(size) / (camera.width, camera.height)
    picture = Image.fromarray(to_bytes(rgb)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture, "RGBA")
    (vertices,) = tracked.vertices([frame])
    if mask is not None:
        picture.paste(_OUTLINE[:3], (0, 0), _edge(mask, size))
    depth = camera.to_camera(vertices)[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        points = np.clip(np.nan_to_num(camera.project(vertices) * scale), -_MOST, _MOST)
    if (depth > 0).all():
        for a, b in edges[_facing(points, edges)][:, :2]:
            pen.line((*points[a], *points[b]), fill=_MESH)
    if result.landmarks is not None:
        _landmarks(pen, result, row, scale)
    _words(pen, result, row, bool((depth > 0).all()))
    return np.asarray(picture)


def _landmarks(pen, result: Verification, row: int, scale: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    seen = result.landmarks
    assert seen is not None
    for (x, y), (to_x, to_y) in zip(seen.projected[row] * scale, seen.measured.pixels[row] * scale, strict=True):
        if not np.isfinite([x, y, to_x, to_y]).all() or max(abs(x), abs(y)) > _MOST:
            continue
        pen.line((x, y, to_x, to_y), fill=_ERROR)
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), outline=_ASKED)
        pen.line((to_x - 2, to_y, to_x + 2, to_y), fill=_SEEN)
        pen.line((to_x, to_y - 2, to_x, to_y + 2), fill=_SEEN)


def _words(pen, result: Verification, row: int, front: bool) -> None:  # type: ignore[no-untyped-def]
    from PIL import ImageFont

    assert result.tracked is not None
    font = ImageFont.load_default(15)
    name = result.tracked.track.names[result.frames[row]]
    lines = [(f"{name}: {'healthy' if result.healthy else ', '.join(result.faults)}", _SOUND)]
    if not result.healthy:
        lines = [(lines[0][0], _OFF)]
    if not front:
        lines.append(("the head is behind the camera", _OFF))
    if result.landmarks is not None:
        value, eyes = result.landmarks.frames[row], result.landmarks.eyes[row]
        text = f"{value:.2f} px, {100 * value / max(eyes, 1e-6):.1f} % of the eyes' distance"
        lines.append((f"landmarks: {text if np.isfinite(value) else 'behind the camera'}", _SEEN))
        lines.append(("o projected, + seen", _ASKED))
    width = max(pen.textlength(text, font=font) for text, _ in lines)
    pen.rectangle((6, 6, 18 + width, 14 + 20 * len(lines)), fill=(0, 0, 0, 170))
    for index, (text, colour) in enumerate(lines):
        pen.text((12, 9 + 20 * index), text, fill=colour, font=font)


def _edge(mask: np.ndarray, size: tuple[int, int]):  # type: ignore[no-untyped-def]  # PIL comes late
    """Return the mask's edge as a picture of `size`, 255 on it."""
    from PIL import Image

    inside = np.asarray(Image.fromarray(to_bytes(mask)).resize(size, Image.Resampling.BILINEAR)) > 127
    padded = np.pad(inside, 1, mode="edge")
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return Image.fromarray((inside & ~around).astype(np.uint8) * 255)


def _edges(faces: np.ndarray) -> np.ndarray:
    """Return [E, 3]: the two ends of each edge, the smaller first, and the third corner of one of its faces.

    Of an edge's two faces the one is kept that names its ends in this order.
    """
    directed = np.concatenate([faces[:, [0, 1, 2]], faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])
    edges: np.ndarray = directed[directed[:, 0] < directed[:, 1]]
    return edges


def _facing(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return [E] bool: whether the edge's face is seen from its front (counter-clockwise, y down)."""
    a, b, c = (points[edges[:, i]] for i in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return np.asarray(turn < 0)
