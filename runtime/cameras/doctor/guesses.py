"""Faults with a free number: fitted to the landmarks, and named by what the number is.

Costs are those of `hypotheses`, and more for each number that nothing explains.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from marotte.runtime.cameras.doctor.fit import Sample, fit_distance, fit_focal, fit_resolution, fit_shift, score
from marotte.runtime.cameras.doctor.hypotheses import STRANGE
from marotte.runtime.cameras.doctor.readings import Reading
from marotte.runtime.cameras.doctor.setting import Setting

# Whole angles in degrees, and focal lengths in pixels and in widths, that programs fill in for unknown lenses.
_ANGLES = (20, 25, 30, 35, 40, 45, 49.13434, 50, 55, 60, 65, 70, 75, 80, 90, 12.5, 14, 15, 39.5978, 9.5273)
_FOCALS = (500, 548.99377, 600, 800, 1000, 1015, 1111.111, 1200, 1500, 2000, 3072, 5000)
_RATIOS = (0.5, 1, 1.2, 1.25, 1.5, 2, 12 / 2)
_SIZES = (256, 384, 480, 512, 540, 600, 640, 720, 768, 800, 960, 1024, 1080, 1152, 1280, 1440, 1920, 2048, 2160, 3840)
UNEXPLAINED = 24.0


class Guess(NamedTuple):
    """A mended reading. faults: names; what: how it is mended; cost; also: names that the number allows as well."""

    reading: Reading
    faults: tuple[str, ...]
    what: str
    cost: float
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """A fault with a free number. solve gives None where the number means nothing."""

    name: str
    solve: Callable[[Reading, Sample, Setting], Guess | None]


def centred(reading: Reading) -> bool:
    """Tell whether the principal points are the pictures' centres, of pixel edges or of pixel indices."""
    return _centred_by(reading, 0.0) or _centred_by(reading, 0.5)


def _centred_by(reading: Reading, shift: float) -> bool:
    return bool(np.abs(reading.K[:, :2, 2] - reading.middles + shift).max() < 1e-3)


def replaced_lens(reading: Reading) -> str:
    """Return what default the lens has, `` for none."""
    focal, size = reading.K[:, [0, 1], [0, 1]], 2 * reading.middles
    if np.ptp(focal[:, 0]) > 1e-4 * abs(focal[0, 0]) or focal.min() <= 0:
        return ""
    angles = np.rad2deg(2 * np.arctan(size[0] / 2 / focal[0]))
    for angle in _ANGLES:
        if np.abs(angles - angle).min() < 1e-4 * angle:
            return f"the default angle of {angle:g} degrees"
    for number in _FOCALS:
        if np.abs(focal[0] - number).min() < 1e-5 * number:
            return f"the default focal length of {number:g} pixels"
    for ratio in _RATIOS:
        if abs(focal[0, 0] / size[0].max() - ratio) < 1e-5 or abs(focal[0, 0] / size[0].min() - ratio) < 1e-5:
            return f"a focal length of {ratio:g} times the picture's side"
    return ""


def round_distance(reading: Reading) -> str:
    """Return whose distance is a round number, `` for none: then the rig was scaled to it."""
    lengths = np.linalg.norm(reading.t, axis=1)
    if len(lengths) > 1 and np.ptp(lengths) < 1e-4 * lengths.mean():
        return f"every camera stands exactly {lengths.mean() * reading.unit:.4g} from the origin"
    for name, length in (("mean", lengths.mean()), ("largest", lengths.max())):
        for value in (length, length * reading.unit):
            nearest = float(f"{value:.2g}")
            if abs(value - nearest) < 1e-4 * nearest:
                return f"the {name} distance is exactly {nearest:g}"
    return ""


def _shift(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    mended, shift = fit_shift(reading, sample, each=False)
    x, y = shift[0]
    what = f"move the principal point by ({x:+.2f}, {y:+.2f}) pixels"
    if reading.centred or centred(reading):
        half = ("half_pixel",) if _centred_by(reading, 0.5) else ()
        return Guess(mended, ("principal_point_dropped",), f"{what}: it is the picture's centre", 12.0, half)
    if _crop_centred(reading, setting):
        return Guess(mended, ("principal_point_dropped",), f"{what}: it is the crop's centre", 14.0)
    also = ("padding_missing", "principal_point_dropped")
    if setting.crop is not None:
        return Guess(mended, ("crop_offset_missing",), f"{what}: no known part of the crop is that", 36.0, also)
    return Guess(mended, ("crop_offset_missing",), what, UNEXPLAINED, also)


def _crop_centred(reading: Reading, setting: Setting) -> bool:
    cut = setting.crop
    if cut is None:
        return False
    goals = [cut.affine.inverse.apply(np.array(cut.size) / 2), cut.affine.apply(np.array(cut.video) / 2)]
    return any(np.abs(reading.K[:, :2, 2] - goal).max() < 1e-3 for goal in goals)


def _shift_each(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    if len(reading) < 2 or not centred(reading):
        return None
    mended, shift = fit_shift(reading, sample, each=True)
    what = f"move each camera's own principal point, by up to {np.abs(shift).max():.1f} pixels: all are centred"
    return Guess(mended, ("principal_point_dropped",), what, STRANGE + 6 * len(reading))


def _focal(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    mended, found = fit_focal(reading, sample, each=False, shift=False)
    factor = found[0, 0]
    if factor * reading.K[0, 0, 0] <= 0:
        return None
    what = f"multiply the focal length by {factor:.4g}"
    if named := _named_focal(reading, mended, sample):
        return Guess(mended, named, f"{what}: it was computed from the angle in the other unit", STRANGE)
    if known := replaced_lens(reading):
        return Guess(mended, ("fov_replaced",), f"{what}: it has {known}", 13.0)
    if (reading.centred or centred(reading)) and (size := _known_ratio(reading, setting, factor, 1e-3)):
        return Guess(
            mended, ("wrong_resolution",), f"{what}: it is that of a picture of {size}", 16.0, ("fov_replaced",)
        )
    return Guess(mended, ("fov_replaced",), what, _dull(factor))


def _dull(factor: float) -> float:
    """Return what a factor that nothing explains costs: more near 1, where chance and bias are."""
    return UNEXPLAINED + 8 * (abs(factor - 1) < 0.02)


def _named_focal(reading: Reading, mended: Reading, sample: Sample) -> tuple[str, ...]:
    """Return whether the focal length was computed from the right angle in degrees as if in radians."""
    if reading.angles is not None:
        return ()
    right, half = mended.K[0, 0, 0], reading.middles[0, 0]
    # The tangent of so large an angle is sensitive: the fit's own uncertainty spreads over it.
    spread = 3 * sample.sigma / np.sqrt(sample.count) / 20
    tried = right * (1 + np.linspace(-1, 1, 21) * max(spread, 1e-6))
    wrong = half / np.tan(np.rad2deg(2 * np.arctan(half / tried)) / 2)
    read = reading.K[0, 0, 0]
    if wrong.min() <= read <= wrong.max() and np.ptp(wrong) < 0.3 * abs(read):
        return ("degrees_for_radians",)
    return ()


def _focal_shift(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    mended, found = fit_focal(reading, sample, each=False, shift=True)
    factor, x, y = found[0]
    if factor * reading.K[0, 0, 0] <= 0:
        return None
    what = f"multiply the focal length by {factor:.4g} and move the principal point by ({x:+.1f}, {y:+.1f}) pixels"
    known = replaced_lens(reading)
    if (
        abs(factor - 1) > 0.02
        and np.abs(reading.K[:, :2, 2] * factor - reading.middles).max() < 0.02 * reading.image[0]
    ):
        text = f"{what}: it is the centre of pictures of another size"
        return Guess(mended, ("wrong_resolution", "principal_point_dropped"), text, 24.0, ("fov_replaced",))
    if reading.centred or centred(reading):
        if not known and (size := _known_ratio(reading, setting, factor, 1e-3)):
            text = f"{what}: the focal length is that of a picture of {size}"
            return Guess(mended, ("wrong_resolution", "principal_point_dropped"), text, 26.0, ("fov_replaced",))
        text = f"{what}: it has {known}" if known else what
        return Guess(mended, ("fov_replaced",), text, 18.0 if known else 42.0, ("principal_point_dropped",))
    if setting.crop is None:
        return Guess(mended, ("crop_offset_missing", "resize_missing"), what, 38.0, ("fov_replaced",))
    return Guess(mended, ("fov_replaced", "principal_point_dropped"), what, 46.0, ("crop_offset_missing",))


def _focal_each(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    known = replaced_lens(reading)
    if len(reading) < 2 or not known:
        return None
    with_centre = centred(reading)
    mended, found = fit_focal(reading, sample, each=True, shift=with_centre)
    if found[:, 0].min() <= 0 or np.abs(found[:, 0] - 1).max() < 0.02:
        return None
    low, high = found[:, 0].min(), found[:, 0].max()
    what = f"give each camera its own focal length, {low:.3g} to {high:.3g} times this one: all have {known}"
    return Guess(mended, ("fov_replaced",), what, STRANGE + (8 if with_centre else 4) * len(reading))


def _distance(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    mended, factors = fit_distance(reading, sample, each=False)
    factor = factors[0, 0]
    if not 1e-5 < factor < 1e5:
        return None
    what = f"multiply the translation by {factor:.5g}"
    if known := reading.normalised:
        return Guess(mended, ("distance_normalised",), f"{what}: {known}", 12.0)
    return Guess(mended, ("distance_normalised",), what, _dull(factor) - 1)


def _distance_each(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    lengths = np.linalg.norm(reading.t, axis=1)
    if len(reading) < 2 or np.ptp(lengths) > 1e-4 * lengths.mean():
        return None
    mended, factors = fit_distance(reading, sample, each=True)
    if factors.min() <= 0:
        return None
    what = f"multiply each camera's translation by its own factor, {factors.min():.4g} to {factors.max():.4g}"
    return Guess(mended, ("distance_normalised",), f"{what}: {reading.normalised}", STRANGE + 4 * len(reading))


def _resolution(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    mended, factors = fit_resolution(reading, sample, square=True)
    factor = factors[0, 0]
    if factor <= 0:
        return None
    what = f"multiply K by {factor:.4g}"
    size = _known_ratio(reading, setting, factor, 3 * _resolution_error(sample) * factor + 1e-5)
    if size:
        return Guess(mended, ("wrong_resolution",), f"{what}: it is that of a picture of {size}", 12.0)
    return Guess(mended, ("wrong_resolution",), what, _dull(factor) - 8)


def _resolution_each(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
    mended, factors = fit_resolution(reading, sample, square=False)
    x, y = factors[0]
    error = 3 * _resolution_error(sample) * max(x, y) + 1e-5
    sizes = _known_ratio(reading, setting, x, error), _known_ratio(reading, setting, y, error)
    if min(x, y) <= 0 or not all(sizes) or abs(x / y - 1) < 0.02:
        return None
    what = f"multiply K by {x:.4g} across and {y:.4g} down: it is that of pictures of {sizes[0]} and {sizes[1]}"
    return Guess(mended, ("wrong_resolution",), what, 16.0)


def _resolution_error(sample: Sample) -> float:
    """Return the standard error of a factor of all pixel coordinates."""
    squares = (np.where(sample.seen[..., None], sample.measured, 0) ** 2).sum((0, 1))
    return sample.sigma / float(np.sqrt(max(squares.min(), 1e-9)))


def _known_ratio(reading: Reading, setting: Setting, factor: float, error: float) -> str:
    """Return the size that a picture would have whose numbers are `factor` times too small, where it is a usual one."""
    if abs(factor - 1) < 0.02:
        return ""
    width, height = reading.image
    known = [(setting.side, setting.side), setting.video, reading.stated]
    for size in (size for size in known if size is not None):
        for ratio in (width / size[0], height / size[1]):
            if abs(ratio - factor) < error * max(ratio, 1):
                return f"{size[0]}x{size[1]}"
    for usual in _SIZES:
        if abs(width / usual - factor) < error:
            return f"{usual} pixels across"
    return ""


def _with_distance(second: Callable[[Reading, Sample, Setting], Guess | None]) -> Callable[..., Guess | None]:
    """Return the fit of a distance and of something about the lens, by a search along the distance."""

    def solve(reading: Reading, sample: Sample, setting: Setting) -> Guess | None:
        if not reading.normalised:
            return None

        def at(log: float) -> tuple[float, Guess | None]:
            guess = second(replace(reading, t=reading.t * np.exp(log)), sample, setting)
            return (np.inf, None) if guess is None else (score(guess.reading, sample).chi2, guess)

        grid = np.linspace(np.log(0.02), np.log(50), 40)
        near = grid[int(np.argmin([at(log)[0] for log in grid]))]
        low, high = near - (grid[1] - grid[0]), near + (grid[1] - grid[0])
        for _ in range(22):  # golden section
            a, b = high - (high - low) * 0.618, low + (high - low) * 0.618
            low, high = (low, b) if at(a)[0] < at(b)[0] else (a, high)
        chi2, guess = at((low + high) / 2)
        if guess is None or not np.isfinite(chi2) or "distance_normalised" in guess.faults:
            return None
        what = f"multiply the translation by {np.exp((low + high) / 2):.5g}: {reading.normalised}; {guess.what}"
        return guess._replace(faults=("distance_normalised", *guess.faults), what=what, cost=guess.cost + 18.0)

    return solve


FITS = (
    Fit("shift", _shift),
    Fit("shift each", _shift_each),
    Fit("focal", _focal),
    Fit("focal and shift", _focal_shift),
    Fit("focal each", _focal_each),
    Fit("distance", _distance),
    Fit("distance each", _distance_each),
    Fit("resolution", _resolution),
    Fit("resolution each way", _resolution_each),
)
# Two numbers at once. They cost time, so they are tried where nothing simpler fits.
JOINT_FITS = tuple(
    Fit(f"distance and {name}", _with_distance(solve))
    for name, solve in (
        ("shift", _shift),
        ("focal", _focal),
        ("focal and shift", _focal_shift),
        ("resolution", _resolution),
    )
)
