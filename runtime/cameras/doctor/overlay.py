"""A picture of the diagnosis: measured points, and where the cameras put them before and after."""

from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes, written_whole
from marotte.runtime.cameras.doctor.diagnosis import Diagnosis
from marotte.runtime.cameras.doctor.fit import project
from marotte.runtime.cameras.doctor.readings import Reading

_BEFORE, _AFTER, _MEASURED = (235, 60, 50), (60, 215, 90), (255, 255, 255)
_CANVAS = (96, 96, 100)
# Small pictures are enlarged to this many pixels.
_LEAST = 900
_MOST_VERTICES = 6000


def draw(
    diagnosis: Diagnosis, out: str | Path, *, image: str | Path | None = None, mesh: str | Path | None = None
) -> None:
    """Write a PNG of one frame: points as read in red, mended in green, measured as white crosses.

    image: the first frame's picture, None for a plain canvas on which the worst frame is shown. mesh: vertices in
    metres to draw too. Raises MarotteError where there is neither landmarks nor mesh, or a file cannot be used.
    """
    from PIL import Image, ImageDraw

    out = Path(out)
    landmarks = diagnosis.landmarks
    if landmarks is None and mesh is None:
        raise MarotteError(f"nothing to draw on {out}: give --landmarks or --mesh")
    canvas = _canvas(diagnosis, image)
    frame = 0 if image is not None else _worst(diagnosis)
    enlarged = max(_LEAST / max(canvas.size), 1.0)
    size = (round(canvas.width * enlarged), round(canvas.height * enlarged))
    canvas = canvas.resize(size, Image.Resampling.BICUBIC)
    scale = np.array(size) / diagnosis.reading.image
    pen = ImageDraw.Draw(canvas, "RGBA")
    outside = []
    readings = ((diagnosis.reading, _BEFORE, "as read"), (diagnosis.mended, _AFTER, "mended"))
    for reading, colour, label in readings[: 1 if diagnosis.healthy else 2]:
        if mesh is not None:
            for x, y in _pixels(reading, frame, _vertices(Path(mesh))) * scale:
                pen.point((x, y), fill=(*colour, 150))
        if landmarks is None:
            continue
        pixels = _pixels(reading, frame, landmarks.points3d[landmarks.seen[frame]]) * scale
        for (x, y), (goal_x, goal_y) in zip(pixels, _goals(diagnosis, frame) * scale, strict=True):
            pen.line((x, y, goal_x, goal_y), fill=(*colour, 70), width=1)
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), outline=colour, width=2)
        missed = int(((pixels < 0) | (pixels >= size)).any(axis=1).sum())
        if missed:
            outside.append(f"{label}: {missed} of {len(pixels)} points are outside the picture")
    if landmarks is not None:
        for x, y in _goals(diagnosis, frame) * scale:
            pen.line((x - 3, y, x + 3, y), fill=_MEASURED)
            pen.line((x, y - 3, x, y + 3), fill=_MEASURED)
    _legend(pen, diagnosis, frame, outside)
    with written_whole(out) as part:
        canvas.save(part, format="PNG")


def _canvas(diagnosis: Diagnosis, image: str | Path | None):  # type: ignore[no-untyped-def]  # PIL comes late
    from PIL import Image

    if image is None:
        return Image.new("RGB", diagnosis.reading.image, _CANVAS)
    try:
        with Image.open(image) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MarotteError(f"cannot read the picture {image}: {error}") from None


def _legend(pen, diagnosis: Diagnosis, frame: int, outside: list[str]) -> None:  # type: ignore[no-untyped-def]
    from PIL import ImageFont

    font = ImageFont.load_default(15)
    lines = [(f"{diagnosis.path.name}, frame {frame}: {', '.join(diagnosis.faults)}", _MEASURED)]
    lines += [("+ measured", _MEASURED)] if diagnosis.landmarks is not None else []
    lines += [("o as read", _BEFORE)] + ([] if diagnosis.healthy else [("o mended", _AFTER)])
    lines += [(text, (255, 210, 120)) for text in outside]
    width = max(pen.textlength(text, font=font) for text, _ in lines)
    pen.rectangle((6, 6, 18 + width, 14 + 20 * len(lines)), fill=(0, 0, 0, 170))
    for row, (text, colour) in enumerate(lines):
        pen.text((12, 9 + 20 * row), text, fill=colour, font=font)


def _pixels(reading: Reading, frame: int, points: np.ndarray) -> np.ndarray:
    """Return pixels [P, 2], held within a range that can be drawn."""
    pixels, _ = project(reading.take(np.array([min(frame, len(reading) - 1)])), points)
    return np.clip(np.nan_to_num(pixels[0]), -1e5, 1e5)


def _goals(diagnosis: Diagnosis, frame: int) -> np.ndarray:
    landmarks = diagnosis.landmarks
    if landmarks is None:
        return np.zeros((0, 2))
    return landmarks.points2d[frame][landmarks.seen[frame]]


def _worst(diagnosis: Diagnosis) -> int:
    """Return the frame whose points are farthest off as read."""
    landmarks = diagnosis.landmarks
    if landmarks is None:
        return 0
    count = min(len(diagnosis.reading), len(landmarks.points2d))
    reading = diagnosis.reading.take(np.arange(count))
    away = np.linalg.norm(project(reading, landmarks.points3d)[0] - landmarks.points2d[:count], axis=-1)
    return int(np.where(landmarks.seen[:count], away, 0).mean(axis=1).argmax())


def _vertices(path: Path) -> np.ndarray:
    """Return [V, 3] of an .obj, .ply or .npy. Raises MarotteError where there are none."""
    try:
        if path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        elif path.suffix == ".ply":
            from marotte.models.ply import read_ply_vertices

            table = read_ply_vertices(path)
            found = np.stack([table[axis] for axis in "xyz"], axis=1)
        else:
            lines = read_bytes(path).decode("utf-8", "replace").splitlines()
            found = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float64)
        found = np.asarray(found, np.float64).reshape(-1, 3)
    except (OSError, KeyError, ValueError) as error:
        raise MarotteError(f"cannot read vertices from {path}: {error}; give an .obj, .ply or .npy [V, 3]") from None
    if not len(found):
        raise MarotteError(f"{path} has no vertices: give an .obj, .ply or .npy [V, 3]")
    return found[:: -(-len(found) // _MOST_VERTICES)]
