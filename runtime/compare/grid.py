"""The grid: all arms' pictures side by side in one film, each with its name above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageFont

# The most that a film of all arms is wide, and the height of the line with their names.
_WIDEST, _LABEL = 1920, 32
_PAPER, _INK, _FAINT, _DARK = (24, 26, 30), (236, 238, 241), (160, 166, 174), (16, 17, 20)


@dataclass(frozen=True)
class Cell:
    """Where an arm's picture lies in the grid, in pixels; its label is above it."""

    arm: str
    x: int
    y: int
    width: int
    height: int


class Grid:
    """Puts pictures of one size together. names, words: what stands above each, bold, and fainter after it."""

    def __init__(self, names: Sequence[str], words: Sequence[str], size: tuple[int, int]) -> None:
        count = len(names)
        columns = count if count <= 3 else -(-count // -(-count // 4)) if count > 4 else 2
        rows = -(-count // columns)
        share = min(1.0, _WIDEST / (columns * size[0]))
        # Even sides, as H.264 wants them.
        width, height = (max(round(side * share / 2) * 2, 2) for side in size)
        self._size, self._names = (width, height), list(names)
        self.cells = [
            Cell(name, index % columns * width, index // columns * (height + _LABEL) + _LABEL, width, height)
            for index, name in enumerate(names)
        ]
        self.width, self.height = columns * width, rows * (height + _LABEL)
        self._ground = self._labelled(words)
        self._ended: dict[int, np.ndarray] = {}

    def picture(self, pictures: Sequence[np.ndarray | None]) -> np.ndarray:
        """Return the grid [H, W, 3] uint8 of one picture [h, w, 3] an arm; None for one that has ended."""
        out = self._ground.copy()
        for index, (cell, picture) in enumerate(zip(self.cells, pictures, strict=True)):
            place = slice(cell.y, cell.y + cell.height), slice(cell.x, cell.x + cell.width)
            if picture is None:
                out[place] = self._ended.get(index, np.array(_DARK, np.uint8))
            else:
                out[place] = self._scaled(picture)
        return out

    def end(self, name: str, why: str) -> None:
        """Let an arm's place be dark from now on, and say why."""
        from PIL import Image, ImageDraw

        sheet = Image.new("RGB", self._size, _DARK)
        draw = ImageDraw.Draw(sheet)
        face = font(15)
        lines, most = [""], self._size[0] - 32
        for word in why.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and draw.textlength(longer, font=face) > most:
                lines.append(word)
            else:
                lines[-1] = longer
        draw.text((16, self._size[1] // 3), "\n".join(lines[:10]), fill=_INK, font=face, spacing=6)
        self._ended[self._names.index(name)] = np.asarray(sheet, np.uint8)

    def _scaled(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[1::-1] == self._size:
            return picture
        from PIL import Image

        return np.asarray(Image.fromarray(picture).resize(self._size, Image.Resampling.LANCZOS, reducing_gap=3.0))

    def _labelled(self, words: Sequence[str]) -> np.ndarray:
        from PIL import Image, ImageDraw

        sheet = Image.new("RGB", (self.width, self.height), _PAPER)
        draw = ImageDraw.Draw(sheet)
        bold, plain = font(16, bold=True), font(13)
        for cell, text in zip(self.cells, words, strict=True):
            middle, left = cell.y - _LABEL // 2, cell.x + 10
            draw.text((left, middle), cell.arm, fill=_INK, font=bold, anchor="lm")
            left += round(draw.textlength(cell.arm, font=bold)) + 10
            room = cell.x + cell.width - left - 6
            while text and draw.textlength(text, font=plain) > room:
                text = text[:-2].rstrip(" ,.…") + "…" if len(text) > 2 else ""
            draw.text((left, middle + 1), text, fill=_FAINT, font=plain, anchor="lm")
        return np.asarray(sheet, np.uint8)


def font(size: int, bold: bool = False) -> "ImageFont.FreeTypeFont":
    """Return matplotlib's DejaVu Sans, which knows more letters than Pillow's own."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
