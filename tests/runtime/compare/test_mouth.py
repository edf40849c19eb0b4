"""The mouth from pictures alone, held to what was drawn."""

from pathlib import Path

import numpy as np
import pytest

from marotte.runtime.audio.resample import mono_blocks
from marotte.runtime.audio.source import open_audio
from marotte.runtime.avatar import load_avatar
from marotte.runtime.compare.face_fit import FaceFit, reduced
from marotte.runtime.compare.faces import face_tracks
from marotte.runtime.compare.head_find import head_box
from marotte.runtime.compare.mouth import MouthWatch
from marotte.runtime.registry import create
from marotte.runtime.session import Session, SessionOptions

SPEECH = Path(__file__).parents[3] / "demos/speech.wav"
SIZE = 160


def drawn(renderer, sound):
    """Pictures [T, H, W, 3] of the demo head saying a sound, its opening [T] in mm, and the head's box."""
    opening, boxes = [], []

    def watch(stream, drive):
        opening.append(face_tracks(stream.face_points(drive)).opening)
        boxes.append(stream.head_boxes(drive))

    session = Session(
        create("driver", "viseme"),
        create("renderer", renderer),
        load_avatar("demo"),
        SessionOptions(width=SIZE, height=SIZE),
        watch=watch,
    )
    pictures = [frames.pixels for batches in (session.feed(sound), session.finish()) for frames in batches]
    session.close()
    return np.concatenate(pictures), np.concatenate(opening), np.concatenate(boxes).mean(axis=0)


@pytest.fixture(scope="module", params=["mesh", "splatting-avatar"])
def speaking(request):
    with open_audio(SPEECH, duration=6.0) as source:
        return drawn(request.param, np.concatenate(list(mono_blocks(source))))


@pytest.fixture(scope="module")
def silent():
    return drawn("mesh", np.zeros(16000 * 3, np.float32))


def watched(pictures):
    watch = MouthWatch()
    for picture in pictures:
        watch.add(picture)
    return watch.result()


def lag(found, truth):
    """Frames, and parts of one, by which one is late, and the correlation without a shift."""
    found, truth = (each - each.mean() for each in (found, truth))
    steps = np.arange(-3, 4)
    size = len(found)
    likes = [found[3 + step : size - 3 + step] @ truth[3 : size - 3] for step in steps]
    best = int(np.argmax(likes))
    assert 0 < best < 6
    before, at, after = likes[best - 1 : best + 2]
    part = 0.5 * (before - after) / (before - 2 * at + after)
    return steps[best] + part, float(np.corrcoef(found, truth)[0, 1])


@pytest.fixture(scope="module")
def found(speaking):
    """What is seen in the pictures as they are."""
    return watched(speaking[0])


def test_the_opening_is_what_was_drawn(speaking, found):
    truth = speaking[1]
    assert not found.why and found.sure > 0.6
    late, like = lag(found.opening, truth)
    assert like > 0.85
    assert abs(late) * 40 < 20
    assert found.opening.min() == 0 and found.opening.max() == 1


def test_a_mirrored_film_gives_the_same(speaking, found):
    own, other = found, watched(speaking[0][:, :, ::-1])
    # Box filters round to whole steps of 255.
    np.testing.assert_allclose(own.opening, other.opening, atol=0.02)
    np.testing.assert_allclose(other.box, [SIZE - own.box[2], own.box[1], SIZE - own.box[0], own.box[3]], atol=2.5)


def test_a_frame_that_is_missing_is_not_known(speaking, found):
    pictures, whole = list(speaking[0]), found.opening
    pictures[20] = None
    pictures[100:] = [None] * len(pictures[100:])
    opening = watched(pictures).opening
    assert np.isnan(opening[20]) and np.isnan(opening[100:]).all()
    assert np.isfinite(np.delete(opening[:100], 20)).all()
    assert np.corrcoef(np.delete(opening[:100], 20), np.delete(whole[:100], 20))[0, 1] > 0.95


def test_another_place_in_the_picture_changes_little(speaking, found):
    other = watched(np.roll(speaking[0], 1, axis=2))
    assert np.corrcoef(found.opening, other.opening)[0, 1] > 0.99


def test_light_that_changes_is_no_mouth(speaking):
    pictures, truth, _ = speaking
    light = 1 + 0.1 * np.sin(np.arange(len(pictures)) / 3)
    found = watched(np.clip(pictures * light[:, None, None, None], 0, 255).astype(np.uint8))
    assert np.corrcoef(found.opening, truth)[0, 1] > 0.8


def test_the_box_is_near_the_head(speaking, found):
    pictures, _, box = speaking
    np.testing.assert_allclose(head_box(pictures[::10]), box, atol=0.04 * SIZE)
    np.testing.assert_allclose(found.box, box, atol=0.04 * SIZE)


def test_a_head_that_only_moves_is_found_without_a_plain_border(speaking):
    pictures, _, box = speaking
    behind = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    ground = pictures[0, 0, 0].astype(int)
    head = (abs(pictures[::5].astype(int) - ground).max(axis=-1) > 12)[..., None]
    # It sways, so that its outline is seen to move.
    swaying = []
    for frame, (picture, mask) in enumerate(zip(pictures[::5], head, strict=True)):
        by = 4 * round(np.sin(frame))
        swaying.append(np.where(np.roll(mask, by, axis=1), np.roll(picture, by, axis=1), behind))
    found = head_box(swaying)
    assert found is not None
    np.testing.assert_allclose(found, box, atol=0.12 * SIZE)


def test_a_mouth_that_says_nothing_is_not_measured(silent):
    found = watched(silent[0])
    assert np.isnan(found.opening).all() and len(found.opening) == len(silent[0])
    assert "does not move" in found.why and found.box is not None


def noise(rng):
    return rng.integers(0, 256, (60, 90, 70, 3), dtype=np.uint8)


def plain(rng):
    return np.full((60, 90, 70, 3), 9, np.uint8)


def block(rng):
    """A block that wanders, with a dark spot at random places of it."""
    pictures = np.full((90, 100, 100, 3), 230, np.uint8)
    for frame, picture in enumerate(pictures):
        left = 30 + round(8 * np.sin(frame / 9))
        picture[20:90, left : left + 40] = 120
        top, beside = rng.integers(30, 70), left + rng.integers(5, 25)
        picture[top : top + 12, beside : beside + 12] = 20
    return pictures


@pytest.mark.parametrize("what", [noise, plain, block])
def test_what_is_no_mouth_is_not_measured(what):
    found = watched(what(np.random.default_rng(5)))
    assert np.isnan(found.opening).all() and found.why and found.sure < 0.6


def test_nothing_at_all():
    assert len(watched([]).opening) == 0 and watched([]).why
    found = watched([None] * 80)
    assert np.isnan(found.opening).all() and len(found.opening) == 80
    assert head_box([]) is None


def test_a_short_film_is_not_measured(speaking):
    found = watched(speaking[0][:12])
    assert "fewer than" in found.why and np.isnan(found.opening).all()


def test_a_face_that_moves_is_followed(speaking):
    pictures, _, box = speaking
    copies = [reduced(picture) for picture in pictures[:20]]
    face = FaceFit(box, copies)
    # The working copy's head is 80 pixels wide.
    pixel = 80 / (box[2] - box[0])
    for copy in copies[:3]:
        _, own = face.mouth(copy)
        _, moved = face.mouth(np.roll(copy, (2, -3), axis=(0, 1)))
        np.testing.assert_allclose(moved - own, [2 * pixel, -3 * pixel], atol=0.1)
    assert face.mouth(np.full_like(copies[0], 128)) is None
