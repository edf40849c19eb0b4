"""Pictures as H.264 has them: the planes against the formula, and what is decoded against what was encoded."""

from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")

import av
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from marotte.runtime.live import planes
from marotte.runtime.live.counter import SQUARE, counter, draw_counter, read_counter
from marotte.runtime.live.encode import H264Encoder

RNG = np.random.default_rng(0)


def formula(pixels):
    """BT.709 in limited range, in float64."""
    red, green, blue = np.moveaxis(pixels / 255, -1, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    to_blue, to_red = (blue - luma) / 1.8556, (red - luma) / 1.5748
    halved = [plane.reshape(len(plane) // 2, 2, -1, 2).mean(axis=(1, 3)) for plane in (to_blue, to_red)]
    return 16 + 219 * luma, 128 + 224 * halved[0], 128 + 224 * halved[1]


def room(height, width):
    return np.zeros((height, width), np.uint8), *np.zeros((2, height // 2, width // 2), np.uint8)


@pytest.mark.parametrize("shape", [(2, 2), (8, 216), (34, 70)])
def test_planes_are_the_formula_within_a_level(shape):
    pixels = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
    pixels[:2, :2] = 255 * RNG.integers(0, 2, 3)
    filled = room(shape[0], shape[1] + 10)
    planes.fill_planes(pixels, filled)
    for plane, wanted in zip(filled, formula(pixels), strict=True):
        assert np.abs(plane[:, : wanted.shape[1]] - wanted).max() <= 1
        assert not plane[:, wanted.shape[1] :].any()


def test_grey_has_no_colour_and_the_ends_are_the_ends():
    for value, luma in ((0, 16), (255, 235)):
        filled = room(4, 4)
        planes.fill_planes(np.full((4, 4, 3), value, np.uint8), filled)
        assert [set(plane.ravel()) for plane in filled] == [{luma}, {128}, {128}]


def test_one_kernel_serves_all_pictures():
    filled = room(8, 8)
    picture = RNG.integers(0, 256, (8, 16, 3)).astype(np.uint8)
    fixed = picture[:, :8].copy()
    fixed.flags.writeable = False
    for pixels in (fixed, picture[:, ::2], np.asfortranarray(fixed), picture[:2, :8]):
        planes.fill_planes(pixels, filled)
    assert len(planes._fill.signatures) == 1


def pictures(count, height, width):
    """A gradient that moves."""
    y, x = np.mgrid[:height, :width]
    for n in range(count):
        yield np.stack([(x + 4 * n) % 256, (2 * y + n) % 256, (x + y) % 256], axis=-1).astype(np.uint8)


def decoded(packets):
    decoder, reformat = av.CodecContext.create("h264", "r"), VideoReformatter()
    found = [frame for packet in packets for frame in decoder.decode(av.Packet(packet.data))] + decoder.decode(None)
    for frame in found:
        assert (frame.colorspace, frame.color_range) == (Colorspace.ITU709, ColorRange.MPEG)
        yield reformat.reformat(frame, format="rgb24", dst_color_range=ColorRange.JPEG).to_ndarray()


def test_what_is_decoded_is_what_was_encoded():
    given = [np.ascontiguousarray(np.sort(picture, axis=1)) for picture in pictures(12, 65, 255)]
    encoder = H264Encoder(255, 65, Fraction(25), bitrate=8_000_000)
    packets = [packet for n, picture in enumerate(given) for packet in encoder.encode(picture, 1920 * n, key=n == 7)]
    assert [packet.tick for packet in packets] == [1920 * n for n in range(12)]
    assert [n for n, packet in enumerate(packets) if packet.key] == [0, 7]
    shown = list(decoded(packets))
    assert len(shown) == 12 and shown[0].shape == (66, 256, 3)
    for before, after in zip(given, shown, strict=True):
        assert np.abs(after[:65, :255].astype(int) - before).mean() < 6
    encoder.close()


def test_a_corner_lies_over_the_picture():
    squares = counter(256, 64, 48 * 777)
    encoder = H264Encoder(256, 64, Fraction(25))
    picture = next(pictures(1, 64, 256))
    (shown,) = decoded(encoder.encode(picture, 0, corner=squares))
    assert read_counter(shown) == 777 and np.abs(shown[SQUARE + 8 :].astype(int) - picture[SQUARE + 8 :]).mean() < 20
    assert np.array_equal(draw_counter(picture, 48 * 777)[:SQUARE, : squares.shape[1]], squares)
    assert counter(64, 64, 0) is None and counter(256, 4, 0) is None
