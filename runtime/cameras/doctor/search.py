"""The search for what explains the landmarks: nothing, one fault, two, or a fit; the simplest that is good enough."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from marotte.runtime.cameras.doctor.fit import Sample, Score, fit_shift, project, score
from marotte.runtime.cameras.doctor.guesses import FITS, JOINT_FITS, UNEXPLAINED, Fit, round_distance
from marotte.runtime.cameras.doctor.hypotheses import ORDINARY, Step, steps
from marotte.runtime.cameras.doctor.noise import estimate_noise
from marotte.runtime.cameras.doctor.readings import Reading
from marotte.runtime.cameras.doctor.setting import Landmarks, Setting

# The search looks at so many frames and points in them, the verdict at up to so many points of all frames.
_FRAMES, _PAIRS, _ALL_POINTS = 24, 1600, 200
_FARTHEST = 10
# Explanations whose chi2 is within this of the best's are as good.
_SAME = 9.0
_NEARLY = 4.0
_PER_FAULT = 6.0
_OUTLIER = 5.0
_REFINED = 8
_DEEPER = 24
# Landmark detectors are off by up to this share of the picture, on the mean.
_BIAS = 0.002
# Of chi2 with two degrees of freedom, one in a thousand is above.
_STRAY = 14.0
_LARGER = {"focal and shift", "shift each", "focal each", "distance each"}
# Poses and lenses commute, so one order is enough; another field replaces both, so it comes first.
_SKIPPED = {("lens", "pose"), ("pose", "field"), ("lens", "field"), ("field", "field")}
_SCALED = {"scale4_missing", "scale5_missing", "scale10_missing", "metres_for_millimetres", "millimetres_for_metres"}


@dataclass(frozen=True, eq=False)
class Explanation:
    """Faults that are undone one after the other, then a fit. shift: camera i + shift belongs to frame i.

    score: of the sample; cost: of `hypotheses`; also: other names that the fit allows; fit_cost: its part of the cost.
    """

    faults: tuple[str, ...]
    what: tuple[str, ...]
    cost: float
    score: Score
    steps: tuple[Step, ...] = ()
    fit: Fit | None = None
    shift: int = 0
    also: tuple[str, ...] = ()
    fit_cost: float = 0.0

    @property
    def alone(self) -> bool:
        """Whether it is one mistake, or none."""
        return len(self.steps) + (self.fit is not None) + (self.shift != 0) <= 1

    @property
    def is_pose(self) -> bool:
        """Whether it changes only rotations and translations, by nothing that was fitted."""
        return bool(self.steps) and self.fit is None and all(step.kind == "pose" for step in self.steps)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was found. best, and others as good; misfit: chi2 for each coordinate of the best, at least 1.

    passed: whether the best is within the noise. odds: of the best against all others that were tried, 0 to 1.
    """

    best: Explanation
    others: tuple[Explanation, ...]
    passed: bool
    odds: float


class Search:
    """Looks for what is wrong with a reading. noise_known: whether sigma was measured or given, not guessed."""

    def __init__(self, reading: Reading, landmarks: Landmarks, setting: Setting) -> None:
        # Seen on all cameras, for a choice of them has another mean.
        self.reading, self.setting = replace(reading, normalised=round_distance(reading)), setting
        self.frames = min(len(reading), len(landmarks.points2d))
        self._samples: dict[tuple[int, bool], tuple[Reading, Sample]] = {}
        sigma, keep, self.common = estimate_noise(landmarks)
        given = setting.noise_px
        self.noise_known = given is not None
        if sigma is None or (given is not None and 0.8 < sigma / given < 1.25):
            sigma = given
        self.measured = sigma is not None
        self.landmarks = replace(landmarks, seen=keep)
        if sigma is None:
            sigma, keep = self._noise_of_the_best()
            self.landmarks = replace(landmarks, seen=keep)
        self.sigma = sigma
        self._samples.clear()  # the noise was found with another sigma

    def sample(self, shift: int = 0, whole: bool = False) -> tuple[Reading, Sample]:
        """Return cameras, and what was measured in their frames.

        The cameras are those of a choice of frames; all of the file where `whole`, with nothing seen in frames that
        have no landmarks.
        """
        key = shift, whole
        if key not in self._samples:
            self._samples[key] = self._sampled(shift, whole)
        return self._samples[key]

    def _sampled(self, shift: int, whole: bool) -> tuple[Reading, Sample]:
        count = len(self.reading) if whole else self.frames
        frames = np.arange(count)
        points = np.arange(len(self.landmarks.points3d))
        if not whole:
            frames = np.unique(np.linspace(0, count - 1, _FRAMES).round().astype(int))
        points = points[_spread(len(points), _ALL_POINTS if whole else max(_PAIRS // len(frames), 8))]
        cameras = frames + shift
        there = (cameras >= 0) & (cameras < len(self.reading)) & (frames < len(self.landmarks.points2d))
        known = np.minimum(frames, len(self.landmarks.points2d) - 1)
        seen = self.landmarks.seen[np.ix_(known, points)] & there[:, None]
        measured = self.landmarks.points2d[np.ix_(known, points)]
        sample = Sample(self.landmarks.points3d[points], measured, seen, self.sigma, self.common)
        return self.reading.take(np.clip(cameras, 0, len(self.reading) - 1)), sample

    def run(self) -> Outcome:
        """Return the simplest explanation that the landmarks allow."""
        reading, sample = self.sample()
        nothing = Explanation((), (), 0.0, score(reading, sample))
        tried = [nothing, *self._singles(reading, sample), *self._shifts(nothing.score)]
        # Half a pixel hides behind a larger fault, so it is always tried with another.
        leaders = [each for each in _ranked(tried, sample)[:_REFINED] if each.alone]
        leaders += [each for each in tried if each.faults == ("half_pixel",) and each not in leaders]
        tried += [pair for first in leaders for pair in self._after(first)]
        best = _ranked(tried, sample)[0]
        if not (self._settled(best, sample) and best.alone):
            tried += self._pairs(reading, sample)
            for shift in range(-_near(self.frames), _near(self.frames) + 1):
                if shift:
                    tried += self._after(self._shifted(shift))
        if not self._settled(_ranked(tried, sample)[0], sample):
            poses = [each for each in _by_error(tried) if each.alone and each.is_pose and not _SCALED & {*each.faults}]
            tried += [pair for first in (nothing, *poses[:_REFINED]) for pair in self._fitted(first, JOINT_FITS)]
        if not _passes(_ranked(tried, sample)[0], sample):
            exact = [pair for pair in _by_error(tried) if pair.fit is None and pair.steps][:_DEEPER]
            tried += [triple for pair in exact for triple in self._fitted(pair)]
        return self._judged(tried, sample)

    def mended(self, explanation: Explanation) -> Reading:
        """Return all cameras of the file with the faults undone."""
        reading, sample = self.sample(explanation.shift, whole=True)
        for step in explanation.steps:
            reading = step.undo(reading)
        if explanation.fit is not None:
            guess = explanation.fit.solve(reading, sample, self.setting)
            reading = reading if guess is None else guess.reading
        return replace(reading, names=self.reading.names)

    def _noise_of_the_best(self) -> tuple[float, np.ndarray]:
        """Return sigma, and what is no outlier, by whichever single explanation leaves the smallest median error."""
        self.sigma = 1.0
        reading, sample = self.sample(whole=True)
        made = [reading, *(step.undo(reading) for step in self._steps(reading))]
        made += [guess.reading for r in tuple(made) for fit in FITS if (guess := fit.solve(r, sample, self.setting))]
        size, seen = np.inf, self.landmarks.seen
        for candidate in made:
            pixels, depth = project(candidate, sample.points)
            error = np.linalg.norm(pixels - sample.measured, axis=-1)
            middle = float(np.median(error[sample.seen]))
            if depth[sample.seen].min() > 0 and middle < size:
                size = middle
                # The median of a Rayleigh distribution is 1.1774 sigma.
                near = error < _OUTLIER * max(size / 1.1774, 1e-3)
                if near.shape == self.landmarks.seen.shape:
                    seen = self.landmarks.seen & near
        return (max(size / 1.1774, 1e-3) if np.isfinite(size) else 1.0), seen

    def _steps(self, reading: Reading) -> list[Step]:
        """Return what may be wrong, with another place of the file being right instead of the one that is read."""
        found = steps(reading, self.setting)
        names = {name: i for i, name in enumerate(self.reading.names)}
        if len(names) == len(self.reading):
            for other, index in self.reading.fields:
                if len(index) == len(self.reading):
                    text = f"take {other.label} and not {self.reading.label}"
                    found.append(Step(("inconsistent_fields",), text, _taking(other, names), ORDINARY + 2, "field"))
        return found

    def _singles(self, reading: Reading, sample: Sample) -> Iterator[Explanation]:
        for step in self._steps(reading):
            yield Explanation(step.faults, (step.what,), step.cost, self._scored(step, reading, sample), (step,))
        before = score(reading, sample).rms
        for fit in FITS:
            guess = fit.solve(reading, sample, self.setting)
            if guess is not None and self._tells(before, found := score(guess.reading, sample)):
                yield Explanation(
                    guess.faults, (guess.what,), guess.cost, found, fit=fit, also=guess.also, fit_cost=guess.cost
                )

    def _shifts(self, nothing: Score) -> Iterator[Explanation]:
        for shift in range(-_near(self.frames), _near(self.frames) + 1):
            if shift:
                yield self._shifted(shift)

    def _shifted(self, shift: int) -> Explanation:
        reading, sample = self.sample(shift)
        _, whole = self.sample()
        count = abs(shift)
        what = (
            f"take each frame's camera {count} entr{'y' if count == 1 else 'ies'} {'later' if shift > 0 else 'earlier'}"
        )
        cost = ORDINARY + count
        return Explanation(("frame_shift",), (what,), cost, _filled(score(reading, sample), sample, whole), shift=shift)

    def _after(self, first: Explanation) -> Iterator[Explanation]:
        """Yield an exact explanation with one more fault, exact or fitted."""
        if first.fit is not None or (not first.steps and not first.shift):
            return
        reading, sample = self.sample(first.shift)
        _, whole = self.sample()
        for step in first.steps:
            reading = step.undo(reading)
        for step in steps(reading, self.setting):
            if step.faults != first.faults:
                yield _both(first, step, _filled(self._scored(step, reading, sample), sample, whole))
        yield from self._fitted(first)

    def _tells(self, before: float, found: Score) -> bool:
        """Tell whether a fit moves points by more than detectors are off by."""
        return before**2 - found.rms**2 > (_BIAS * max(self.reading.image)) ** 2

    def _scored(self, step: Step, reading: Reading, sample: Sample) -> Score:
        """Return the score with a fault undone; half a pixel must be half a pixel, or it is the detector's bias."""
        mended = step.undo(reading)
        found = score(mended, sample)
        if step.faults == ("half_pixel",) and np.isfinite(found.chi2) and self._stray(mended, sample):
            return found._replace(chi2=np.inf)
        return found

    def _stray(self, reading: Reading, sample: Sample) -> bool:
        """Tell whether points are off on the mean by more than chance."""
        mended, _ = fit_shift(reading, sample, each=False)
        return score(reading, sample).chi2 - score(mended, sample).chi2 > _STRAY

    @staticmethod
    def _settled(best: Explanation, sample: Sample) -> bool:
        """Tell whether no more need be tried: it is within the noise, and no far-fetched fit."""
        return _passes(best, sample) and best.cost <= UNEXPLAINED + 2

    def _fitted(self, first: Explanation, fits: tuple[Fit, ...] = FITS) -> Iterator[Explanation]:
        reading, sample = self.sample(first.shift)
        _, whole = self.sample()
        for step in first.steps:
            reading = step.undo(reading)
        before = score(reading, sample).rms
        for fit in fits:
            guess = fit.solve(reading, sample, self.setting)
            if guess is None or set(guess.faults) & set(first.faults):
                continue
            if self._tells(before, found := score(guess.reading, sample)):
                yield replace(
                    first,
                    faults=first.faults + guess.faults,
                    what=(*first.what, guess.what),
                    cost=first.cost + guess.cost + _PER_FAULT * (first.cost > 0),
                    score=_filled(found, sample, whole),
                    fit=fit,
                    also=guess.also,
                    fit_cost=guess.cost,
                )

    def _pairs(self, reading: Reading, sample: Sample) -> Iterator[Explanation]:
        """Yield all pairs of exact faults; those of pose and lens commute and are tried in one order."""
        listed = self._steps(reading)
        undone = {step: step.undo(reading) for step in listed}
        for first, second in product(listed, listed):
            if first.faults == second.faults or (first.kind, second.kind) in _SKIPPED:
                continue
            one = Explanation(first.faults, (first.what,), first.cost, Score(np.inf, 0, np.inf), (first,))
            yield _both(one, second, score(second.undo(undone[first]), sample))
        for first in listed:
            one = Explanation(first.faults, (first.what,), first.cost, Score(np.inf, 0, np.inf), (first,))
            yield from self._fitted(one)

    def _judged(self, tried: list[Explanation], sample: Sample) -> Outcome:
        ranked = _ranked(tried, sample)
        best, misfit = ranked[0], _misfit(ranked, sample)
        others, names = [], {frozenset(best.faults)}
        for other in ranked[1:]:
            close = (other.score.chi2 - best.score.chi2) / misfit < _SAME
            fewer = len(other.faults) <= max(len(best.faults), 1)
            simple = other.cost <= best.cost + (13 if fewer else 0)
            simple = simple or _total(other, misfit) < _total(best, misfit) + _NEARLY
            # A free number fits whatever an exact fault explains: that says nothing of its own.
            named = other.fit_cost < UNEXPLAINED - 1
            # A fit with more free numbers than the best one has fits better by nature.
            named = named and not (best.fit and other.fit and other.fit.name in _LARGER)
            if not (close and simple and named) or frozenset(other.faults) in names:
                continue
            if best.cost > UNEXPLAINED - 6 or other.alone or not fewer:
                if not best.faults and not other.is_pose:
                    continue
                others.append(other)
                names.add(frozenset(other.faults))
        weights: dict[frozenset[str], float] = {}
        for each in ranked:
            weight = np.exp(-(_total(each, misfit) - _total(best, misfit)) / 2)
            weights[frozenset(each.faults)] = max(weights.get(frozenset(each.faults), 0.0), weight)
        return Outcome(best, tuple(others), _passes(best, sample), 1 / sum(weights.values()))


def _taking(other: Reading, names: dict[str, int]) -> Callable[[Reading], Reading]:
    return lambda reading: other.take(np.array([names[name] for name in reading.names]))


def _both(first: Explanation, second: Step, found: Score) -> Explanation:
    return replace(
        first,
        faults=tuple(dict.fromkeys(first.faults + second.faults)),
        what=(*first.what, second.what),
        cost=first.cost + second.cost + _PER_FAULT,
        score=found,
        steps=(*first.steps, second),
    )


def _filled(found: Score, sample: Sample, whole: Sample) -> Score:
    """Return a score as if frames without a camera were explained as well as chance has it."""
    return found._replace(chi2=found.chi2 + (whole.count - sample.count) / whole.redundancy)


def _near(frames: int) -> int:
    return min(_FARTHEST, frames // 2)


def _spread(count: int, most: int) -> np.ndarray:
    """Return up to `most` of `count` numbers, spread by a fixed shuffle so that no part of a face is left out."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _misfit(tried: list[Explanation], sample: Sample) -> float:
    return max(min(each.score.chi2 for each in tried) * sample.redundancy / max(sample.count, 1), 1.0)


def _total(explanation: Explanation, misfit: float) -> float:
    return explanation.score.chi2 / misfit + explanation.cost


def _ranked(tried: list[Explanation], sample: Sample) -> list[Explanation]:
    """Return them from the best, by chi2 and cost."""
    misfit = _misfit(tried, sample)
    if not np.isfinite(misfit):  # nothing puts the points in front of the camera
        return _by_error(tried)
    return sorted(tried, key=lambda each: _total(each, misfit))


def _by_error(tried: list[Explanation]) -> list[Explanation]:
    return sorted(tried, key=lambda each: (each.score.chi2, -each.score.front, each.score.rms))


def _passes(explanation: Explanation, sample: Sample) -> bool:
    """Tell whether what is left is within the noise."""
    found = explanation.score
    return bool(
        np.isfinite(found.chi2) and found.chi2 * sample.redundancy <= sample.count * (sample.limit / sample.sigma) ** 2
    )
