"""What stands behind the head."""

import os
from dataclasses import dataclass

import numpy as np

from marotte.errors import MarotteError


@dataclass(frozen=True)
class Background:
    """A colour, an image, or nothing.

    colour: sRGB 0..1, used where there is no image. image: uint8 [H, W, 3] of the picture's size.
    transparent: leave it out; the pictures then carry alpha. own: what the avatar's recording shows there, for
    renderers that have one; others take the colour.
    """

    colour: tuple[float, float, float] = (0.87, 0.89, 0.92)
    image: np.ndarray | None = None
    transparent: bool = False
    own: bool = False


def read_background(value: str, width: int, height: int) -> Background:
    """Return the background that `value` names: a colour, an image file, `transparent`, or the avatar's `own`.

    Colours are CSS names or `#rrggbb`. An image is scaled to fill width x height and cut at its
    longer side, around its middle.
    """
    if value.lower() == "transparent":
        return Background(transparent=True)
    if value.lower() == "own":
        return Background(own=True)
    from PIL import Image, ImageColor, ImageOps

    if os.path.isfile(value):
        try:
            with Image.open(value) as picture:
                upright = ImageOps.exif_transpose(picture).convert("RGB")
                filled = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
        except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            raise MarotteError(f"background {value} is not a picture that can be read ({error})") from error
        return Background(image=np.asarray(filled, dtype=np.uint8))
    try:
        red, green, blue = ImageColor.getrgb(value)[:3]
    except ValueError:
        raise MarotteError(
            f"background {value!r} is neither a colour (steelblue, #8090a0), nor a picture file, 'transparent' or 'own'"
        ) from None
    return Background(colour=(red / 255, green / 255, blue / 255))
