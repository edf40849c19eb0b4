"""The figures of a comparison: of every arm a value with its interval, and by how much it differs from the first's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.compare import face_figures as face
from marotte.runtime.compare import lip_figures as lip
from marotte.runtime.compare.blocks import RESAMPLES, Blocks, Quantity, mean
from marotte.runtime.compare.definitions import DEFINITIONS
from marotte.runtime.compare.model import Definition, Take, Value
from marotte.runtime.compare.motions import Apart, apart, gap_error, lip_error, upper_deviation
from marotte.runtime.compare.spoken import Speech, hear
from marotte.runtime.motion_head import MeasuredHead

Measure = Callable[[Take], Quantity | str]


@dataclass(frozen=True, eq=False)
class Found:
    """What was measured. values, differences: by arm, then by figure; the first arm has no differences, nor have the
    figures of the family `pair`, which are of two arms by themselves. speech: what is said in the comparison's sound.
    notes: what a reader should know of the instruments.
    """

    definitions: tuple[Definition, ...]
    values: dict[str, dict[str, Value]]
    differences: dict[str, dict[str, Value]]
    speech: Speech
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class _Context:
    """What all figures are measured with."""

    blocks: Blocks
    first: Take
    speech: Speech
    own: Mapping[str, Speech]
    full: Mapping[str, float]
    heads: Mapping[str, MeasuredHead]
    reference: np.ndarray | None
    has_reference: bool
    _apart: dict[int, Apart | str] = field(default_factory=dict)

    def apart(self, take: Take) -> Apart | str:
        """Return how far the arm's motion is from the first's, or why that cannot be said."""
        if take is self.first:
            return "it is what the others are compared with"
        one, two = take.motion, self.first.motion
        if one is None or two is None:
            return lip.UNMOVED if one is None else "no motion moves the first arm's lips"
        if one.basis != two.basis:
            return f"another basis: {one.basis}, first {two.basis}"
        if one.basis not in self.heads:
            return f"no head model of {one.basis} to measure on"
        if id(one) not in self._apart:
            self._apart[id(one)] = apart(one, two, self.heads[one.basis], self.blocks)
        return self._apart[id(one)]


def figures(
    takes: Sequence[Take],
    speech: Speech | np.ndarray,
    *,
    text: str = "",
    full: Mapping[str, float] | None = None,
    heads: Mapping[str, MeasuredHead] | None = None,
    reference_landmarks: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Found:
    """Return the figures of takes, of which the first is what the others are compared with.

    speech: what is said in the comparison's sound (`hear`), or that sound [n] float32 at 16 kHz. text: what is said, in
    English, for the arms' own sounds, where it is known. full: mm of the lips' gap at full jaw opening by arm; the
    demo's otherwise. heads: by basis, to measure motions on; the demo's for arkit52 where none is given.
    reference_landmarks: [T, 68, 2] of the reference in the common picture. Raises MarotteError where `speech` is a
    sound that its text does not fit.
    """
    first = takes[0]
    if not isinstance(speech, Speech):
        speech = hear(speech, text)
    own, notes = _own_speech(takes, speech, text)
    known = dict(full or {})
    demo = lip.full_opening() if any(take.name not in known for take in takes) else float("nan")
    context = _Context(
        blocks=Blocks(len(first), first.fps, resamples=resamples, seed=seed),
        first=first,
        speech=speech,
        own=own,
        full={take.name: known.get(take.name, demo) for take in takes},
        heads=heads if heads is not None else _heads(takes),
        reference=reference_landmarks,
        has_reference=any(take.references for take in takes) or reference_landmarks is not None,
    )
    measures = _measures(context)
    values: dict[str, dict[str, Value]] = {take.name: {} for take in takes}
    differences: dict[str, dict[str, Value]] = {take.name: {} for take in takes}
    for key, definition in DEFINITIONS.items():
        base: Quantity | str = ""
        for take in takes:
            found = measures[key](take)
            base = found if take is first else base
            value = Value(None, note=found) if isinstance(found, str) else context.blocks.value(found)
            values[take.name][key] = value
            if take is first or definition.family == "pair":
                continue
            if value.value is None:
                differences[take.name][key] = value
            elif isinstance(base, str) or values[first.name][key].value is None:
                why = values[first.name][key].note
                differences[take.name][key] = Value(None, note=f"not measured in the first arm: {why}")
            else:
                assert isinstance(found, Quantity)
                differences[take.name][key] = context.blocks.difference(found, base)
    return Found(tuple(DEFINITIONS.values()), values, differences, speech, tuple(notes))


def tracks(takes: Sequence[Take], speech: Speech) -> dict[str, Any]:
    """Return what plots along time show, as `results.json` has it: None where nothing is known."""
    shown: dict[str, dict[str, list[float | None]]] = {}
    for take in takes:
        unknown = np.full(len(take), np.nan)
        of = {
            "asked": unknown if take.asked is None else take.asked,
            "opening": take.opening,
            "asked_blink": unknown if take.asked_blink is None else take.asked_blink,
            "blink": take.blink,
            "head": take.head[:, 0],
            "turn": take.head[:, 1],
            "speed": face.lip_speed(take),
            "frame_ms": take.frame_ms,
            "difference": take.pairs.get("difference", unknown),
            "psnr": take.pairs.get("psnr", unknown),
        }
        shown[take.name] = {key: _plain(track) for key, track in of.items() if np.isfinite(track).any()}
    there = [key for key in _TRACKS if any(key in arm for arm in shown.values())]
    longest = max(len(take) for take in takes)
    return {
        "seconds": [round(i / float(takes[0].fps), 6) for i in range(longest)],
        "units": {key: _TRACKS[key][1] for key in there},
        "titles": {key: _TRACKS[key][0] for key in there},
        "arms": shown,
        "bilabials": [[round(float(a), 4), round(float(b), 4)] for a, b in speech.bilabials],
    }


_TRACKS = {
    "asked": ("Mouth opening that is asked for", "mm"),
    "opening": ("Mouth opening as realised", "mm"),
    "asked_blink": ("Closure of the eyes that is asked for", ""),
    "blink": ("Closure of the eyes as realised", ""),
    "head": ("Pitch of the head", "°"),
    "turn": ("Yaw of the head", "°"),
    "speed": ("Speed of the lips", "mm/s"),
    "frame_ms": ("Frame time", "ms"),
    "difference": ("Mean absolute difference from the first arm", "of 255"),
    "psnr": ("PSNR against the first arm", "dB"),
}


_RANGES = {"psnr": (0.0, 100.0), "ssim": (-1.0, 1.0)}


def _measures(context: _Context) -> dict[str, Measure]:
    """Return how each figure is measured, by key."""
    blocks, speech, own = context.blocks, context.speech, context.own
    found: dict[str, Measure] = {
        "opening": lambda take: lip.opening(take, speech, blocks),
        "opening_gain": lambda take: lip.gain(take, speech, blocks),
        "opening_follow": lambda take: lip.follows(take, speech, blocks),
        "closure": lambda take: lip.closure(take, own[take.name], blocks, context.full[take.name]),
        "closure_asked": lambda take: lip.closure(take, own[take.name], blocks, context.full[take.name], asked=True),
        "lag": lambda take: lip.lag(take, own[take.name], blocks),
        "lve": lambda take: _moved(context, take, lambda seen: lip_error(seen, blocks, squared=True)),
        "lip_distance": lambda take: _moved(context, take, lambda seen: lip_error(seen, blocks, squared=False)),
        "fdd": lambda take: _moved(context, take, lambda seen: upper_deviation(seen, blocks)),
        "mod": lambda take: _moved(context, take, lambda seen: gap_error(seen, blocks)),
    }
    for key in ("blink_rate", "blink_duration", "head_motion", "head_speed", "head_jitter", "lips_jitter"):
        found[key] = _of_face(getattr(face, key), blocks)
    for key in ("frame_time", "frame_time_jitter"):
        found[key] = _of_face(getattr(face, key), blocks)
    for name in ("psnr", "ssim", "lpips", "difference"):
        found[f"{name}_pair"] = _of_pictures(context, name, pair=True)
        found[f"{name}_reference"] = _of_pictures(context, name, pair=False)
    for share, ending in ((False, ""), (True, "_share")):
        found[f"landmark_pair{ending}"] = _of_landmarks(context, pair=True, share=share)
        found[f"landmark_reference{ending}"] = _of_landmarks(context, pair=False, share=share)
    return found


def _of_face(measure: Callable[[Take, Blocks], Quantity | str], blocks: Blocks) -> Measure:
    return lambda take: measure(take, blocks)


def _of_pictures(context: _Context, name: str, *, pair: bool) -> Measure:
    def measure(take: Take) -> Quantity | str:
        if why := _alone(context, take, pair):
            return why
        track = (take.pairs if pair else take.references).get(name)
        if track is None or not np.isfinite(track).any():
            return "not asked for" if name == "lpips" and track is None else "no frame was compared"
        least, most = _RANGES.get(name, (0.0, np.inf))
        return mean(context.blocks, track, least=least, most=most)

    return measure


def _of_landmarks(context: _Context, *, pair: bool, share: bool) -> Measure:
    def measure(take: Take) -> Quantity | str:
        if why := _alone(context, take, pair):
            return why
        others = context.first.landmarks if pair else context.reference
        distance = face.landmark_distance(take.landmarks, others, share=share)
        if isinstance(distance, str):
            return distance
        return mean(context.blocks, distance, least=0, without="no frame has landmarks in both")

    return measure


def _alone(context: _Context, take: Take, pair: bool) -> str:
    """Return why an arm has nothing to be compared with; empty where it has."""
    if pair:
        return "it is what the others are compared with" if take is context.first else ""
    return "" if context.has_reference else "no reference was given"


def _moved(context: _Context, take: Take, measure: Callable[[Apart], Quantity | str]) -> Quantity | str:
    seen = context.apart(take)
    return seen if isinstance(seen, str) else measure(seen)


def _own_speech(takes: Sequence[Take], speech: Speech, text: str) -> tuple[dict[str, Speech], list[str]]:
    """Return what is said in each arm's own sound, equal sounds heard once, and notes."""
    heard, notes = [speech], []
    own: dict[str, Speech] = {}
    for take in takes:
        same = next((each for each in heard if np.array_equal(each.labelled.samples, take.sound)), None)
        if same is None:
            try:
                same = hear(take.sound, text if speech.by == "text" else "")
            except MarotteError as error:
                notes.append(f"{take.name}: its own sound was heard, not aligned: {error}")
                same = hear(take.sound)
            heard.append(same)
        own[take.name] = same
    return own, notes


def _heads(takes: Sequence[Take]) -> dict[str, MeasuredHead]:
    """Return the demo's head, where arms may be compared on it."""
    motions = [take.motion for take in takes if take.motion is not None]
    if sum(motion.basis == "arkit52" for motion in motions) < 2:
        return {}
    return {"arkit52": MeasuredHead.load("demo")}


def _plain(track: np.ndarray) -> list[float | None]:
    return [round(float(value), 5) if np.isfinite(value) else None for value in track]
