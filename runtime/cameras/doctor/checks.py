"""What a camera file shows by itself, without landmarks: fields that disagree, and numbers that cannot be.

Two kinds of findings: where a file contradicts itself, which no landmarks can excuse (`contradictions`); and where its
cameras are improbable for a head at the world's origin, which landmarks decide better (`improbable`).
"""

from collections.abc import Iterator

import numpy as np

from marotte.runtime.cameras.doctor.fit import Sample, project, score
from marotte.runtime.cameras.doctor.guesses import centred, replaced_lens, round_distance
from marotte.runtime.cameras.doctor.hypotheses import steps
from marotte.runtime.cameras.doctor.readings import Finding, Reading
from marotte.runtime.cameras.doctor.setting import Setting

# A head's points, for files without landmarks: metres about the origin.
_CLOUD = np.random.default_rng(7).uniform(-1, 1, (24, 3)) * (0.07, 0.1, 0.06)
# Fields are the same where numbers are within this share; published writers round to it.
_SAME = 1e-3
_HEAD_WIDTH = 0.16
# Sides of square pictures that are usual.
_SIDES = (128, 256, 384, 512, 768, 1024, 2048)
_SCALES = {4.0: "scale4_missing", 5.0: "scale5_missing", 10.0: "scale10_missing", 1000.0: "metres_for_millimetres"}


def contradictions(
    reading: Reading,
    setting: Setting,
    points: np.ndarray | None,
    fields: tuple[tuple[Reading, np.ndarray], ...] | None = None,
) -> Iterator[Finding]:
    """Yield where a file disagrees with itself or is no camera.

    points: [P, 3] of the landmarks, None without. fields: which other places of the file to compare, None for all.
    """
    yield from reading.findings
    yield from _not_rotations(reading)
    told: set[tuple[str, ...]] = set()
    for other, index in reading.fields if fields is None else fields:
        finding = _shifted(reading, other, index)
        if finding is None:
            finding = _disagreement(reading.take(index), other, setting, _CLOUD if points is None else points[:64])
        if finding is not None and (finding.fault, *finding.alternatives) not in told:
            told.add((finding.fault, *finding.alternatives))
            yield finding
    if reading.stated is not None and reading.sizes is None and reading.stated != reading.image:
        (a, b), (width, height) = reading.stated, reading.image
        yield Finding(
            "wrong_resolution" if reading.angles is None else "",
            f"the file is for pictures of {a}x{b}, these are {width}x{height}",
            0.8,
            ("inconsistent_fields",),
        )


def improbable(reading: Reading, setting: Setting) -> Iterator[Finding]:
    """Yield what is improbable for cameras that look at a head at the world's origin."""
    focal, size = reading.K[:, [0, 1], [0, 1]], 2 * reading.middles
    if reading.angles is not None and (np.abs(reading.angles) >= np.pi).any():
        text = f"the angle of view is {np.abs(reading.angles).max():.4g} rad: whole angles lie below 3.14"
        yield Finding("degrees_for_radians", text)
        return
    if focal.min() <= 0:
        yield Finding("inconsistent_fields", f"the focal length is {focal.min():.4g} pixels: it must be above 0")
        return
    if reading.euler is not None and np.abs(reading.euler).max() > 2 * np.pi:
        yield Finding("degrees_for_radians", f"euler goes up to {np.abs(reading.euler).max():.4g}: more than a turn")
    angle = np.rad2deg(2 * np.arctan(size / 2 / focal))
    if reading.angle_unit == "degrees" and reading.angles is not None and angle.max() < 1:
        text = f"x_fov says {angle.max():.4g} degrees: as radians it would be {np.rad2deg(angle.max()):.4g} degrees"
        yield Finding("radians_for_degrees", text)
        return
    yield from _lens(reading, setting)
    yield from _pose(reading, focal, size)


def remarks(reading: Reading) -> Iterator[str]:
    """Yield what is no fault and worth knowing."""
    if centred(reading) and not reading.centred:
        yield "every principal point is the picture's centre"
    if known := replaced_lens(reading):
        yield f"the lens has {known}"
    if known := round_distance(reading):
        yield known


def _not_rotations(reading: Reading) -> Iterator[Finding]:
    products = reading.R @ np.swapaxes(reading.R, 1, 2)
    size = np.sqrt(np.trace(products, axis1=1, axis2=2) / 3)
    skewed = np.abs(products / np.maximum(size, 1e-12)[:, None, None] ** 2 - np.eye(3)).max(axis=(1, 2))
    determinants = np.linalg.det(reading.R)
    if (determinants < 0).any():
        count = int((determinants < 0).sum())
        yield Finding(
            "yz_flipped", f"{count} of {len(reading)} rotations are mirrored (determinant -1): an axis is flipped"
        )
    if (skewed > 1e-3).any():
        worst = int(skewed.argmax())
        text = f"camera {reading.names[worst]}: its matrix is no rotation (off by {skewed[worst]:.2g})"
        yield Finding("inconsistent_fields", text)
    elif np.abs(size - 1).max() > 1e-3:
        worst = int(np.abs(size - 1).argmax())
        text = f"the rotations are scaled by {size[worst]:.4g}: a change of unit went into the matrices"
        yield Finding("distance_normalised", text, 0.7, ("inconsistent_fields",))


def _disagreement(reading: Reading, other: Reading, setting: Setting, points: np.ndarray) -> Finding | None:
    """Return how another place of the file says something else, None where it says the same."""
    if alike(reading, other):
        return None
    target, depth = project(reading, points)
    seen = depth > 0 if (depth > 0).mean() > 0.5 else np.ones(depth.shape, bool)
    tolerance = _SAME * max(reading.image)
    difference = float(np.sqrt(((project(other, points)[0] - target)[seen] ** 2).mean()))
    text = f"{other.label} and {reading.label} disagree"
    if difference < 1e6:
        text += f" by {difference:.3g} pixels"
    text += f"; the published reader takes {reading.label}"
    # What would make one of them the other, in either direction.
    for wrong, right, label in ((other, reading, other.label), (reading, other, reading.label)):
        goal, ahead = project(right, points)
        sample = Sample(points, goal, ahead > 0, 1.0)
        if not sample.count:
            continue
        for step in steps(wrong, setting):
            mended = step.undo(wrong)
            if alike(mended, right) and score(mended, sample).rms < tolerance:
                named = f"{text}: {label} has {' and '.join(step.faults)}"
                return Finding(step.faults[0], named, 0.9, (*step.faults[1:], "inconsistent_fields"))
    return Finding("inconsistent_fields", text)


def _shifted(reading: Reading, other: Reading, index: np.ndarray) -> Finding | None:
    """Return that another place of the file has the neighbours' cameras."""
    if alike(reading.take(index), other):
        return None
    for shift in (-1, 1, -2, 2, -3, 3):
        there = (index + shift >= 0) & (index + shift < len(reading))
        if there.sum() >= 2 and alike(reading.take(index[there] + shift), other.take(np.flatnonzero(there))):
            text = f"{other.label} has the cameras of {reading.label} {abs(shift)} frames off"
            return Finding("frame_shift", text, 0.9, ("inconsistent_fields",))
    return None


def alike(a: Reading, b: Reading, share: float = _SAME) -> bool:
    """Tell whether two readings of the same cameras are the same for what a writer rounds."""
    focal = np.abs(a.K - b.K)[:, [0, 1], [0, 1]] <= share * np.abs(a.K[:, [0, 1], [0, 1]])
    centre = np.abs(a.K - b.K)[:, :2, 2] <= 50 * share
    turned = np.abs(a.R - b.R).max() <= share
    moved = np.abs(a.t - b.t).max() <= share * max(np.abs(a.t).max(), 1e-9)
    return bool(focal.all() and centre.all() and turned and moved)


def _lens(reading: Reading, setting: Setting) -> Iterator[Finding]:
    """Yield a principal point that is the centre of a picture of another size."""
    if centred(reading) or (reading.stated is None and setting.image is None):
        return
    width, height = reading.image
    x, y = reading.K[0, :2, 2]
    others = {setting.video, (setting.side, setting.side), *((side, side) for side in _SIDES)} - {None, reading.image}
    for size in sorted(size for size in others if size is not None):
        if (
            np.abs(2 * reading.K[:, :2, 2] - size).max() < 1e-3
            and np.abs(2 * np.array([x, y]) - reading.image).max() > 9
        ):
            text = (
                f"the principal point ({x:.1f}, {y:.1f}) is the middle of {size[0]}x{size[1]}, not of {width}x{height}"
            )
            yield Finding("wrong_resolution", text, 0.6, ("crop_offset_missing",))
            return


def _pose(reading: Reading, focal: np.ndarray, size: np.ndarray) -> Iterator[Finding]:
    """Yield cameras that the head is behind, or for which it has an absurd size."""
    depth = reading.t[:, 2]
    if (depth <= 0).all():
        text = "the world's origin, where the head is, lies behind every camera"
        yield Finding("yz_flipped", text, 0.6, ("c2w_as_w2c",))
        depth = -depth
    elif (depth <= 0).mean() > 0.5:
        text = f"the world's origin, where the head is, lies behind {int((depth <= 0).sum())} of {len(depth)} cameras"
        yield Finding("c2w_as_w2c", text, 0.5, ("yz_flipped",))
        return
    pixels = project(reading, np.zeros((1, 3)))[0][:, 0]
    outside = (np.abs(pixels - reading.middles) > size).any(axis=1).mean()
    if outside > 0.5 and reading.format != "mammal":
        text = f"the world's origin, where the head is, is far outside of {100 * outside:.0f} % of the pictures"
        yield Finding("c2w_as_w2c", text, 0.5, ("crop_offset_missing", "wrong_resolution"))
        return
    wide = float(np.median(focal[:, 0] * _HEAD_WIDTH / np.maximum(np.abs(depth), 1e-9) / size[:, 0]))
    if 0.02 < wide < 1.3:
        return
    text = f"a head would be {wide:.3g} pictures wide"
    fault = _SCALES.get(reading.unit, "millimetres_for_metres" if wide < 0.02 else "distance_normalised")
    if wide < 0.02:
        fault = "millimetres_for_metres"
    yield Finding(fault, text, 0.6, ("distance_normalised", "fov_half_angle"))
