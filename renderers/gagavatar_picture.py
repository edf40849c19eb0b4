"""From GAGAvatar's picture, which is on black, to bytes: a matte, another size, a background, a mark.

The network paints a square and does not say what of it is the head. The rasterizer does, roughly: the network sharpens
its outline and paints a little beyond it, hair above all. So the rasterizer's coverage only says what is surely head,
surely not, and in between; there, within some pixels of the outline, the matte is worked out from the picture as of a
head before a black cloth: its own colour nearby tells how much of it is seen. Where that colour is near black the
rasterizer's word counts. All of this is approximate; `Background.own` leaves the picture as it is.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marotte.errors import MarotteError
from marotte.renderers.cuda_frames import to_bytes

# At 512 pixels: how far in and out the outline may be off, and how far around it a colour is looked for.
_DOUBT, _NEARBY, _OF = 4, 16, 512
# With so much coverage there may well be head; where so much is missing, it is not sure.
_FAINT = 0.25
# Square of a colour so dark that coverage says as much as it does; and a weight that only counts where no other is.
_DARK, _LITTLE = 0.01, 0.01
# Opacity of a mark, and the share of the picture's side that it takes.
_MARK_OPACITY, _MARK_SHARE = 0.8, 0.5


class Seen(NamedTuple):
    """B pictures of a head, times what is seen of it: colour [B, 3, h, w]; and that: alpha [B, 1, h, w], 0 to 1."""

    colour: Tensor
    alpha: Tensor


def matte(picture: Tensor, transmittance: Tensor) -> Seen:
    """Return the head alone of pictures [B, 3, s, s] on black, where the rasterizer let through [B, s, s] of black."""
    scale = picture.shape[-1] / _OF
    doubt, nearby = max(1, round(_DOUBT * scale)), max(1, round(_NEARBY * scale))
    coverage = 1 - transmittance[:, None]
    surely = -_largest(-(coverage / _FAINT + 1 - 1 / _FAINT).clamp_min(0), doubt)
    inside, reach = _mean(surely, doubt), _mean(_largest((coverage / _FAINT).clamp_max(1), doubt), doubt)
    weight = (surely + _LITTLE) * coverage
    around = _mean(torch.cat([weight * picture, weight * coverage], dim=1), nearby)
    own = around[:, :3] / around[:, 3:].clamp_min(1e-6)
    dark = _DARK * torch.ones_like(coverage)
    share = ((picture * own).sum(dim=1, keepdim=True) + dark * coverage) / (
        own.square().sum(dim=1, keepdim=True) + dark
    )
    colour = picture * reach
    alpha = reach * torch.lerp(share.clamp(0, 1), torch.ones_like(share), inside)
    # No colour is brighter than white.
    return Seen(colour, torch.maximum(alpha, colour.amax(dim=1, keepdim=True)))


def _largest(x: Tensor, radius: int) -> Tensor:
    """Return the largest number within so many pixels, in a square."""
    side = 2 * radius + 1
    x = functional.max_pool2d(x, (1, side), stride=1, padding=(0, radius))
    return functional.max_pool2d(x, (side, 1), stride=1, padding=(radius, 0))


def _mean(x: Tensor, radius: int) -> Tensor:
    """Return the mean within so many pixels, in a square, of what is in the picture."""
    side = 2 * radius + 1
    x = functional.avg_pool2d(x, (1, side), stride=1, padding=(0, radius), count_include_pad=False)
    return functional.avg_pool2d(x, (side, 1), stride=1, padding=(radius, 0), count_include_pad=False)


def place(width: int, height: int) -> tuple[int, int, int]:
    """Return the left and top edge and the side of the square in which a picture of width x height shows the head."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def fitted(x: Tensor, width: int, height: int) -> Tensor:
    """Return pictures [B, C, s, s] in the middle of [B, C, height, width], as large as fits, zero beside.

    Resized by cubic interpolation with antialiasing, which may go a little beyond 0 to 1; as they are where they fit.
    """
    left, top, side = place(width, height)
    if side != x.shape[-1]:
        x = functional.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return functional.pad(x, (left, width - side - left, top, height - side - top)) if width != height else x


class Mark:
    """A picture put into the lower right corner, as the published code does with its watermark.

    Its larger side takes half of the picture's square. rgba: [4, h, w], 0 to 1, straight alpha.
    """

    def __init__(self, rgba: Tensor, width: int, height: int) -> None:
        rows, columns = rgba.shape[1:]
        factor = _MARK_SHARE * min(width, height) / max(rows, columns)
        size = max(1, round(rows * factor)), max(1, round(columns * factor))
        if size != (rows, columns):
            rgba = functional.interpolate(rgba[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
        self._seen = rgba[3:] * _MARK_OPACITY
        self._colour = rgba[:3] * self._seen

    @classmethod
    def read(cls, path: str | Path, width: int, height: int, device: torch.device) -> "Mark":
        """Return the mark of a picture file. Raises MarotteError where it cannot be read."""
        from PIL import Image

        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGBA"), np.float32) / np.float32(255)
        except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            why = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise MarotteError(f"watermark {path} is not a picture that can be read ({why}): give a PNG") from None
        return cls(torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0))).to(device), width, height)

    def put(self, colour: Tensor, through: Tensor) -> None:
        """Put it, in place, on pictures [B, 3, h, w] that let through [B, 1, h, w] of what is behind them."""
        rows, columns = self._seen.shape[1:]
        corner = colour[..., -rows:, -columns:]
        corner.mul_(1 - self._seen).add_(self._colour)
        through[..., -rows:, -columns:].mul_(1 - self._seen)


def finish(
    picture: Tensor, transmittance: Tensor, behind: Tensor | None, own: bool, mark: Mark | None, out: Tensor
) -> None:
    """Write pictures [B, 3, s, s] on black, of which the rasterizer let through [B, s, s], to out [B, h, w, 3 or 4].

    behind: a colour [3] or a picture [h, w, 3], 0 to 1; None for straight alpha. own: leave the black as it is.
    """
    height, width = out.shape[1:3]
    if own:
        colour = fitted(picture, width, height).clamp(0, 1)
        through = torch.zeros_like(colour[:, :1])
    else:
        seen = fitted(torch.cat(matte(picture, transmittance), dim=1), width, height).clamp(0, 1)
        colour, through = seen[:, :3], 1 - seen[:, 3:]
    if mark is not None:
        mark.put(colour, through)
    to_bytes(colour.permute(0, 2, 3, 1), through[:, 0], behind, out)
