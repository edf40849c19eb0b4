"""What stands behind the head: colours, pictures cut to fill, nothing, and nonsense."""

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.runtime.background import read_background


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        ("black", (0, 0, 0)),
        ("#FF8000", (255, 128, 0)),
        ("#f80", (255, 136, 0)),
        ("SteelBlue", (70, 130, 180)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("#10203040", (16, 32, 48)),
    ],
)
def test_colours(value, colour):
    background = read_background(value, 8, 4)
    assert background.colour == pytest.approx(tuple(c / 255 for c in colour))
    assert background.image is None and not background.transparent


@pytest.mark.parametrize("value", ["transparent", "Transparent"])
def test_transparent(value):
    assert read_background(value, 8, 4).transparent


def stripes(width: int, height: int) -> Image.Image:
    """Red, green and blue thirds from left to right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for third in range(3):
        pixels[:, third * width // 3 : (third + 1) * width // 3, third] = 255
    return Image.fromarray(pixels)


def test_a_picture_is_cut_to_fill(tmp_path):
    """Three times too wide: the middle third is what stays, whole in height."""
    path = tmp_path / "wall.png"
    stripes(90, 30).save(path)
    image = read_background(str(path), 60, 60).image
    assert image is not None and image.shape == (60, 60, 3) and image.dtype == np.uint8
    assert np.abs(image[:, 5:-5].astype(int) - (0, 255, 0)).max() <= 2
    tall = read_background(str(path), 90, 10).image
    assert tall is not None and [int(tall[5, x].argmax()) for x in (10, 45, 80)] == [0, 1, 2]


def test_a_picture_from_a_phone_stands_upright(tmp_path):
    """EXIF orientation 6: the camera was turned, so the stripes' left is the top."""
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    stripes(90, 60).save(path, exif=exif, quality=95)
    image = read_background(str(path), 60, 90).image
    assert image is not None and [int(image[y, 30].argmax()) for y in (10, 45, 80)] == [0, 1, 2]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_of_picture(tmp_path, mode):
    path = tmp_path / ("wall.tif" if mode == "CMYK" else "wall.png")
    stripes(12, 12).convert(mode).save(path)
    image = read_background(str(path), 6, 4).image
    assert image is not None and image.shape == (4, 6, 3)


def test_pictures_that_cannot_be_read(tmp_path):
    whole = tmp_path / "wall.png"
    stripes(90, 60).save(whole)
    for name, content in (("cut.png", whole.read_bytes()[:80]), ("text.jpg", b"no picture"), ("empty.png", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(MarotteError, match=f"background .*{name} is not a picture that can be read"):
            read_background(str(path), 8, 4)


@pytest.mark.parametrize("value", ["", "bleu", "#12", "rgb(1,2)", "missing.png", "/", "x" * 5000, "a\nb", "nul\0"])
def test_nonsense(value):
    with pytest.raises(MarotteError, match=r"is neither a colour .*, nor a picture file, 'transparent' or 'own'"):
        read_background(value, 8, 4)
