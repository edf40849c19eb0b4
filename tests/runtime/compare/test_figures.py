"""Planted faults are found by the figures that should find them, and the others stay inside their intervals."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from marotte.runtime.compare.costs import DEFINITIONS as COSTS
from marotte.runtime.compare.definitions import DEFINITIONS, SMALL
from marotte.runtime.compare.figures import Found, figures, tracks
from marotte.runtime.compare.model import FAMILIES, Take
from marotte.runtime.compare.spoken import Speech, hear

# The demo's.
FULL = 34.3
LIPS = {"opening", "opening_gain", "opening_follow", "closure", "closure_asked", "lag"}
LIFE = {"blink_rate", "blink_duration", "head_motion", "head_speed"}
STEADY = {"lips_jitter", "head_jitter", "frame_time", "frame_time_jitter"}
REFERENCES = {"psnr_reference", "ssim_reference"}
EVERY = LIPS | LIFE | STEADY | REFERENCES


@pytest.fixture(scope="module")
def speech(talking) -> Speech:
    return hear(talking.sound)


def compare(*takes: Take, speech: Speech, **told) -> Found:
    """With warnings as errors: what is not known must not leak."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return figures(takes, speech, full={take.name: FULL for take in takes}, **told)


def surely(found: Found, arm: str = "other") -> set[str]:
    return {key for key, value in found.differences[arm].items() if value.differs}


def checked(found: Found) -> Found:
    """Every arm has every figure; what has no value says why, and nothing is NaN."""
    for name, figures_of in found.values.items():
        assert list(figures_of) == [definition.key for definition in found.definitions]
        for value in (*figures_of.values(), *found.differences[name].values()):
            if value.value is None:
                assert value.note and value.low is value.high is None
            else:
                assert np.isfinite(value.value) and (value.low is None) == (value.high is None)
                assert value.low is None or (np.isfinite([value.low, value.high]).all() and value.low <= value.high)
                assert value.low is not None or value.note
    return found


def test_definitions_are_whole():
    assert {definition.family for definition in DEFINITIONS.values()} == set(FAMILIES) - {"cost"}
    for key, definition in DEFINITIONS.items():
        assert key == definition.key and definition.better in ("more", "less", "")
        assert definition.title and definition.definition.endswith(".") and definition.instrument and definition.source


def test_the_same_arm_twice_is_exactly_equal(talking, speech):
    found = checked(compare(talking, replace(talking, name="other"), speech=speech))
    assert set(found.differences["other"]) >= EVERY and not found.differences["first"]
    for key, value in found.differences["other"].items():
        if key in EVERY:
            assert (value.value, value.low, value.high) == (0, 0, 0), key
    pair = found.values["other"]
    assert [pair[key].value for key in ("lve", "lip_distance", "fdd", "mod", "landmark_pair")] == [0] * 5
    assert pair["psnr_pair"].value == 100 and (pair["lve"].low, pair["lve"].high) == (0, 0)
    assert found.values["first"]["opening_gain"].value == pytest.approx(1, abs=1e-3)
    assert found.values["first"]["closure"].count > 5


@pytest.mark.parametrize("ms", [-80, 80])
def test_a_shifted_sound(talking, speech, ms):
    samples = 16 * abs(ms)
    silence = np.zeros(samples, np.float32)
    sound = talking.sound
    sound = np.concatenate([silence, sound[:-samples]] if ms > 0 else [sound[samples:], silence])
    found = checked(compare(talking, replace(talking, name="other", sound=sound), speech=speech))
    lag = found.differences["other"]["lag"]
    assert lag.value == pytest.approx(-ms, abs=10) and lag.differs
    assert surely(found) == {"lag"}


def test_a_jaw_halved(talking, speech):
    lips = talking.lips.copy()
    lips[:, 10:, 1] += talking.opening[:, None] / 2
    found = checked(compare(talking, halved(talking, lips), speech=speech))
    assert found.values["other"]["opening_gain"].value == pytest.approx(0.5, abs=0.01)
    # Lips that part by less move by less.
    assert surely(found) == {"opening", "opening_gain", "lips_jitter"}


def halved(take: Take, lips: np.ndarray | None) -> Take:
    return replace(take, name="other", opening=take.opening / 2, lips=lips)


def test_a_jaw_halved_of_which_only_the_picture_tells(talking, speech):
    first = replace(
        talking, opening_unit="", opening_by="mouth in the picture", opening=talking.opening / 20, lips=None
    )
    found = checked(compare(first, halved(first, None), speech=speech))
    assert surely(found) == {"lips_jitter"}
    assert found.values["other"]["opening"].value is None and "course" in found.values["other"]["opening"].note
    assert found.values["first"]["closure"].value > 0.6 and found.values["first"]["opening_follow"].value > 0.99


def test_a_mirrored_picture(talking, speech):
    landmarks = talking.landmarks * np.array([-1, 1]) + np.array([256, 0])
    noise = np.random.default_rng(1).normal(0, 0.5, len(talking))
    pairs = {"psnr": 14 + noise, "ssim": 0.6 + noise / 20, "difference": 30 + noise}
    found = checked(compare(talking, replace(talking, name="other", landmarks=landmarks, pairs=pairs), speech=speech))
    values = found.values["other"]
    assert values["psnr_pair"].high < 20 and values["landmark_pair"].low > 20
    assert values["landmark_pair_share"].value == pytest.approx(values["landmark_pair"].value / 0.6, rel=0.01)
    assert not surely(found)


def test_a_camera_one_pixel_off(talking, speech):
    noise = np.random.default_rng(1).normal(0, 0.5, len(talking))
    other = replace(talking, name="other", landmarks=talking.landmarks + np.array([1, 0]), pairs={"psnr": 33 + noise})
    found = checked(compare(talking, other, speech=speech))
    assert found.values["other"]["psnr_pair"].high < 40
    assert found.values["other"]["landmark_pair"].value == pytest.approx(1)
    assert not surely(found)


def test_slower_frames(talking, speech):
    rng = np.random.default_rng(2)
    slow = (12 + rng.normal(0, 0.6, len(talking))) * np.where(rng.random(len(talking)) < 0.1, 1.5, 1.0)
    found = checked(compare(talking, replace(talking, name="other", frame_ms=slow), speech=speech))
    assert surely(found) == {"frame_time", "frame_time_jitter"}
    assert found.values["other"]["frame_time"].value == pytest.approx(12.6, abs=0.3)


def test_an_arm_that_fails_at_half_time(talking, speech):
    ended = np.arange(len(talking)) >= 150
    gone = {
        name: np.where(ended.reshape(-1, *(1,) * (getattr(talking, name).ndim - 1)), np.nan, getattr(talking, name))
        for name in ("opening", "blink", "head", "frame_ms", "landmarks", "lips")
    }
    pairs = {key: np.where(ended, np.nan, track) for key, track in talking.pairs.items()}
    references = {key: np.where(ended, np.nan, track) for key, track in talking.references.items()}
    other = replace(talking, name="other", pairs=pairs, references=references, **gone)
    found = checked(compare(talking, other, replace(talking, name="third"), speech=speech))
    for key in EVERY:
        value = found.differences["other"][key]
        # Over the frames that both have, it is the same arm.
        assert value.value == 0 and not value.differs, key
    assert found.values["other"]["frame_time"].count == 150
    assert found.values["third"]["frame_time"].count == 300
    assert found.values["other"]["opening"].value != found.values["first"]["opening"].value


def test_lengths_of_nothing_known(talking, speech):
    takes = [talking]
    for name, known in (("none", 0), ("one", 1), ("two", 2), ("few", 40), ("holes", -1)):
        rng = np.random.default_rng(3)
        lost = rng.random(len(talking)) < 0.3 if known < 0 else np.arange(len(talking)) >= known
        tracks_of = {
            key: np.where(lost.reshape(-1, *(1,) * (getattr(talking, key).ndim - 1)), np.nan, getattr(talking, key))
            for key in ("opening", "blink", "head", "frame_ms", "landmarks", "lips", "asked")
        }
        takes.append(replace(talking, name=name, pairs={}, references={}, **tracks_of))
    found = checked(compare(*takes, speech=speech))
    assert found.values["none"]["opening"].value is None and "not known" in found.values["none"]["blink_rate"].note
    assert found.values["few"]["head_speed"].count == 39
    assert all(value.value is None or value.value == 0 for value in found.differences["few"].values())
    assert surely(found, "holes") == set()


def test_nothing_is_said(talking):
    silence = np.zeros(len(talking.sound), np.float32)
    still = replace(talking, sound=silence, opening=talking.opening * 0)
    found = checked(compare(still, replace(still, name="other"), speech=hear(silence)))
    for key in LIPS:
        assert found.values["first"][key].value is None and "said" in found.values["first"][key].note
    assert found.values["first"]["blink_rate"].value is not None
    assert len(tracks([still], found.speech)["bilabials"]) == 0


@pytest.mark.parametrize("seconds", [1, 2])
def test_too_short_for_intervals(talking, seconds):
    frames = 25 * seconds

    def cut(values):
        return values[50 : 50 + frames]

    arrays = {key: cut(getattr(talking, key)) for key in ("asked", "opening", "blink", "head", "frame_ms", "lips")}
    sound = talking.sound[32000 : 32000 + 16000 * seconds]
    short = replace(talking, sound=sound, motion=None, landmarks=None, pairs={}, references={}, **arrays)
    found = checked(compare(short, replace(short, name="other"), speech=hear(sound)))
    opening = found.differences["other"]["opening"]
    assert opening.value == 0 and opening.low is None and opening.differs is None and "interval" in opening.note
    assert "no motion" in found.values["other"]["lve"].note


def test_a_film_says_why(talking, speech):
    nothing = np.full(len(talking), np.nan)
    film = replace(
        talking, name="film", asked=None, motion=None, landmarks=None, lips=None, frame_ms=nothing,
        head=np.full((len(talking), 3), np.nan), head_by="", opening_unit="", opening_by="mouth in the picture",
    )  # fmt: skip
    found = checked(compare(talking, film, speech=speech))
    notes = {key: value.note for key, value in found.values["film"].items() if value.value is None}
    assert notes["opening_gain"] == notes["closure_asked"] == "no motion moves its lips"
    assert notes["frame_time"] == "a film that is there already is not drawn"
    assert notes["lve"] == "no motion moves its lips" and notes["landmark_pair"] == "no landmarks"
    assert found.values["film"]["lag"].value == pytest.approx(found.values["first"]["lag"].value)
    assert "different ways" in found.differences["film"]["closure"].note
    assert found.values["first"]["lag"].value == pytest.approx(0, abs=15)


def test_every_figure_says_what_it_is_and_what_is_too_small(talking, speech):
    found = compare(talking, replace(talking, name="other"), speech=speech)
    for definition in found.definitions:
        assert all((definition.title, definition.definition, definition.instrument, definition.source)), definition.key
        told = SMALL.get(definition.key)
        assert (told is None) == (definition.family == "pair"), definition.key
        assert told is None or max(told) > 0
    assert set(SMALL) - {definition.key for definition in (*found.definitions, *COSTS)} == set()


def test_noise_is_not_called_a_difference(talking, speech):
    """Arms that differ by chance alone are told apart in about one figure of twenty."""
    flagged = asked = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        first, other = (replace(noisy(talking, rng), name=name) for name in ("first", "other"))
        found = compare(first, other, speech=speech, resamples=300)
        told = [value.differs for key, value in found.differences["other"].items() if key in EVERY]
        flagged, asked = flagged + told.count(True), asked + len(told) - told.count(None)
    assert asked > 40 * 12
    assert flagged / asked < 0.09


def noisy(take: Take, rng: np.random.Generator) -> Take:
    def noise(size: float, *shape: int) -> np.ndarray:
        return rng.normal(0, size, shape or len(take))

    return replace(
        take,
        motion=None,
        opening=np.maximum(take.opening + noise(0.8), 0),
        blink=np.clip(take.blink + noise(0.05), 0, 1),
        head=take.head + noise(0.1, len(take), 3),
        lips=take.lips + noise(0.3, len(take), 20, 3),
        frame_ms=take.frame_ms + noise(0.6),
        references={key: track + noise(0.3) for key, track in take.references.items()},
    )


def test_tracks_are_plain(talking, speech):
    import json

    gone = np.where(np.arange(len(talking)) > 200, np.nan, talking.opening)
    film = replace(talking, name="film", asked=None, lips=None, opening=gone)
    shown = tracks([talking, film], speech)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert set(shown["units"]) == set(shown["titles"]) == set(shown["arms"]["first"])
    assert "asked" not in shown["arms"]["film"] and shown["arms"]["film"]["opening"][250] is None
    assert len(shown["seconds"]) == 300 and shown["seconds"][25] == 1.0 and len(shown["bilabials"]) > 5
