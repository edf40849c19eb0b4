"""How a posed head lies on a picture: its outline, and a picture of both for people."""

import io

import numpy as np

from marotte.runtime.camera import Camera

_MESH, _OUTLINE, _MARK = (90, 200, 255, 60), (255, 70, 200, 255), (70, 235, 100, 255)
# Lines are drawn at this many times the size, so that they show fractions of a pixel.
_FINER, _ENLARGED = 4, 2


def outline_mask(camera: Camera, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return how much of each pixel a mesh covers: float32 [H, W], in 0..1.

    vertices: [V, 3] in the camera's unit, all in front of it.
    """
    from PIL import Image, ImageDraw

    size = camera.width * _FINER, camera.height * _FINER
    sheet = Image.new("L", size)
    draw = ImageDraw.Draw(sheet)
    # A polygon's corners are at pixel centres.
    corners = camera.project(vertices) * _FINER - 0.5
    for triangle in corners[faces].reshape(len(faces), 6).tolist():
        draw.polygon(triangle, fill=255)
    fine = np.asarray(sheet, np.float32) / 255
    return fine.reshape(camera.height, _FINER, camera.width, _FINER).mean(axis=(1, 3))


def fit_picture(
    pixels: np.ndarray, camera: Camera, vertices: np.ndarray, faces: np.ndarray, marks: np.ndarray | None
) -> bytes:
    """Return a PNG, twice as large, of a picture [H, W, 3] with the mesh over it.

    Blue: the edges that face the camera; magenta: the outline; green: the landmarks [L, 3], where there are any.
    """
    from PIL import Image, ImageDraw

    size = camera.width * _ENLARGED, camera.height * _ENLARGED
    sheet = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert("RGBA")
    lines = Image.new("RGBA", size)
    draw = ImageDraw.Draw(lines)
    at = camera.project(vertices) * _ENLARGED - 0.5
    first, second, third = (at[faces[:, i]] for i in range(3))
    across, down = second - first, third - first
    # Counter-clockwise from outside is clockwise where y goes down.
    towards = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0
    for triangle in at[faces[towards]].reshape(-1, 6).tolist():
        draw.line([*triangle, *triangle[:2]], fill=_MESH)
    sheet.alpha_composite(lines)
    inside = np.kron(outline_mask(camera, vertices, faces) > 0.5, np.ones((_ENLARGED, _ENLARGED), bool))
    edge = np.array(sheet)
    edge[inside ^ _shrunk(inside)] = _OUTLINE
    sheet = Image.fromarray(edge)
    draw = ImageDraw.Draw(sheet)
    for x, y in (camera.project(marks) * _ENLARGED - 0.5).tolist() if marks is not None else []:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), outline=_MARK)
    stream = io.BytesIO()
    sheet.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def _shrunk(inside: np.ndarray) -> np.ndarray:
    """Return a mask without its outermost pixels."""
    wide = np.pad(inside, 1)
    return inside & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
