"""Every known fault as an operation on a reading that undoes it exactly; `guesses` has those with a free number.

A cost is how surprised to be: twice the log odds against the fault before looking at a single pixel. 10 is an ordinary
mistake in this format, 16 a strange one. Source of the list: reference/cameras/SPEC.md, section 13.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from marotte.runtime.affine import Affine2D, crop, pad, resize
from marotte.runtime.cameras.doctor.fit import scaled_lens
from marotte.runtime.cameras.doctor.readings import AXES, OPENGL, PYTORCH3D, Reading, euler_matrices
from marotte.runtime.cameras.doctor.setting import Setting

ORDINARY, UNUSUAL, STRANGE = 10.0, 13.0, 16.0
_MIRRORS = {axis: np.diag([-1.0 if i == k else 1.0 for i in range(3)]) for k, axis in enumerate("xyz")}
_NEVER_KNOWN = (("r_transposed",), ("c2w_as_w2c",))
_SCALES = {4.0: "scale4_missing", 5.0: "scale5_missing", 10.0: "scale10_missing"}


@dataclass(frozen=True)
class Step:
    """One fault that can be undone. faults: its names; what: how it is undone; kind: `pose` or `lens`."""

    faults: tuple[str, ...]
    what: str
    undo: Callable[[Reading], Reading]
    cost: float = ORDINARY
    kind: str = "pose"


def steps(reading: Reading, setting: Setting) -> list[Step]:
    """Return what may be wrong with a reading, without what would change nothing.

    A rotation that is its own transpose, and a matrix that is its own inverse, stay: then nobody can know.
    """
    found = []
    for step in (*_rotations(reading), *_flips(reading), *_inverses(reading), *_units(reading), *_angles(reading)):
        found.append(step)
    found += [*_half_pixels(reading), *_crops(reading, setting), *_resolutions(reading, setting)]
    return [step for step in found if step.faults in _NEVER_KNOWN or _changes(reading, step.undo(reading))]


def _changes(before: Reading, after: Reading) -> bool:
    """Tell whether any number changes by more than rounding."""
    pairs = ((before.R, after.R, 1.0), (before.t, after.t, np.abs(before.t).max()), (before.K, after.K, 1.0))
    return any(np.abs(a - b).max() > 1e-5 * max(size, 1e-9) for a, b, size in pairs)


def _posed(reading: Reading, R: np.ndarray, t: np.ndarray) -> Reading:
    return replace(reading, R=R, t=t, euler=None)


def _transposed(R: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the rotations whose form in other axes is transposed."""
    return axes @ np.swapaxes(R, 1, 2) @ axes


def _rotations(reading: Reading) -> Iterator[Step]:
    def transpose(axes: np.ndarray) -> Callable[[Reading], Reading]:
        return lambda r: _posed(r, _transposed(r.R, axes), r.t)

    def keep_centre(axes: np.ndarray) -> Callable[[Reading], Reading]:
        def undo(r: Reading) -> Reading:
            R = _transposed(r.R, axes)
            return _posed(r, R, -np.einsum("nij,nj->ni", R, r.centres))

        return undo

    own = reading.axes
    in_p3d = own == "pytorch3d"
    yield Step(("r_transposed",), "transpose the rotation", transpose(AXES["opencv"]), ORDINARY + 1.5 * in_p3d)
    if own == "opengl":
        yield Step(
            ("r_transposed",), "transpose the rotation as it stands in the file", transpose(OPENGL), ORDINARY + 1
        )
    text = "transpose the rotation, which PyTorch3D multiplies row vectors with"
    yield Step(("p3d_row_column_swapped",), text, transpose(PYTORCH3D), ORDINARY if in_p3d else UNUSUAL)
    if in_p3d:  # the very same bytes by their other name
        yield Step(
            ("r_transposed",), "transpose the rotation as it stands in the file", transpose(PYTORCH3D), ORDINARY + 2
        )
    if reading.stored_c2w:
        text = "transpose the rotation of the camera-to-world matrix, and leave its translation"
        for axes in {"opencv", own}:
            yield Step(("r_transposed",), text, keep_centre(AXES[axes]), UNUSUAL)


def _flips(reading: Reading) -> Iterator[Step]:
    def flip(left: np.ndarray, right: np.ndarray, moved: bool) -> Callable[[Reading], Reading]:
        return lambda r: _posed(r, left @ r.R @ right, r.t @ left if moved else r.t)

    one = np.eye(3)
    yield Step(("yz_flipped",), "negate the camera's y and z axes", flip(OPENGL, one, True))
    yield Step(("yz_flipped",), "negate y and z of the rotation alone", flip(OPENGL, one, False), STRANGE)
    yield Step(("yz_flipped",), "negate y and z on the world's side of the rotation", flip(one, OPENGL, False), STRANGE)
    common = ORDINARY if reading.axes == "pytorch3d" else ORDINARY + 1
    yield Step(("xy_flip_missing",), "negate the camera's x and y axes", flip(PYTORCH3D, one, True), common)
    yield Step(("xy_flip_missing",), "negate x and y of the rotation alone", flip(PYTORCH3D, one, False), STRANGE)
    if np.linalg.det(reading.R).min() < 0:
        for axis, mirror in _MIRRORS.items():
            cost = ORDINARY + (axis != "x")
            yield Step(
                ("yz_flipped",), f"negate the camera's {axis} axis, which is mirrored", flip(mirror, one, True), cost
            )
            text = f"negate {axis} on the world's side of the rotation, which is mirrored"
            yield Step(("yz_flipped",), text, flip(one, mirror, False), STRANGE)


def _inverses(reading: Reading) -> Iterator[Step]:
    def invert(axes: np.ndarray) -> Callable[[Reading], Reading]:
        def undo(r: Reading) -> Reading:
            R, t = axes @ r.R, r.t @ axes
            return _posed(r, axes @ np.swapaxes(R, 1, 2), -np.einsum("nji,nj->ni", R, t) @ axes)

        return undo

    for name, axes in AXES.items():
        if name in ("opencv", reading.axes):
            yield Step(("c2w_as_w2c",), "invert the matrices", invert(axes), ORDINARY + (name != reading.axes))
        else:
            yield Step(("c2w_as_w2c",), f"invert the matrices in {name} axes", invert(axes), STRANGE)


def _units(reading: Reading) -> Iterator[Step]:
    def scale(factor: float) -> Callable[[Reading], Reading]:
        return lambda r: replace(r, t=r.t * factor, normalised="")

    for factor, fault in _SCALES.items():
        own = reading.unit == factor
        if own or factor < 10:
            yield Step(
                (fault,), f"multiply the translation by {factor:g}", scale(factor), ORDINARY if own else UNUSUAL + 1
            )
        if factor < 10:
            yield Step(
                (fault,), f"divide the translation by {factor:g}: it has a factor too many", scale(1 / factor), STRANGE
            )
    cost = ORDINARY if reading.unit == 1000 else ORDINARY + 2
    yield Step(("metres_for_millimetres",), "multiply the translation by 1000", scale(1000.0), cost)
    yield Step(("millimetres_for_metres",), "divide the translation by 1000", scale(1e-3))


def _angles(reading: Reading) -> Iterator[Step]:
    def lens(change: Callable[[np.ndarray], np.ndarray], both: int | None) -> Callable[[Reading], Reading]:
        """Return how to change the whole angles; both: the axis whose angle gives both focal lengths."""

        def undo(r: Reading) -> Reading:
            focal, half = r.K[:, [0, 1], [0, 1]], r.middles
            angles = change(r.angles if r.angles is not None else 2 * np.arctan(half / focal))
            with np.errstate(divide="ignore", invalid="ignore"):
                new = half / np.tan(angles / 2)
            if both is not None:
                new = focal * (new / focal)[:, [both]]
            K = r.K.copy()
            K[:, [0, 1], [0, 1]] = np.nan_to_num(new, nan=-1.0, posinf=-1.0, neginf=-1.0)
            return replace(r, K=K, angles=None if r.angles is None else angles)

        return undo

    square = np.allclose(reading.K[:, 0, 0], reading.K[:, 1, 1], rtol=1e-6)
    oblong = bool(np.abs(reading.middles[:, 0] - reading.middles[:, 1]).max() > 0.5)
    from_angles = reading.angles is not None
    ways: list[int | None] = [None] if from_angles and not square else [0]
    if oblong and square:
        ways += [1]
    for both in ways:
        extra = 2.0 * bool(both) + 2.0 * (not from_angles)
        side = ", down the picture" if both else ""
        yield Step(
            ("fov_half_angle",),
            f"double the angle of view{side}",
            lens(lambda a: 2 * a, both),
            ORDINARY + extra,
            "lens",
        )
        text = f"halve the angle of view{side}: half the angle was doubled twice"
        yield Step(("fov_half_angle",), text, lens(lambda a: a / 2, both), STRANGE, "lens")
        if not from_angles or reading.angle_unit == "degrees":
            text = f"take the angle of view{side} as radians"
            yield Step(("radians_for_degrees",), text, lens(np.rad2deg, both), ORDINARY + 2 * extra, "lens")
        if from_angles and reading.angle_unit == "radians":
            text = f"take the angle of view{side} as degrees"
            yield Step(("degrees_for_radians",), text, lens(np.deg2rad, both), ORDINARY + extra, "lens")
    if reading.euler is not None:
        yield Step(("degrees_for_radians",), "take the Euler angles as degrees", _euler_degrees)


def _euler_degrees(reading: Reading) -> Reading:
    if reading.euler is None:  # an earlier step has changed the rotation
        return reading
    return _posed(reading, OPENGL @ euler_matrices(np.deg2rad(reading.euler)), reading.t)


def _half_pixels(reading: Reading) -> Iterator[Step]:
    for sign, cost in ((0.5, ORDINARY + 2), (-0.5, UNUSUAL + 1)):
        text = f"{'add' if sign > 0 else 'subtract'} half a pixel {'to' if sign > 0 else 'from'} the principal point"
        yield Step(
            ("half_pixel",), text, _through(Affine2D(shift_x=sign, shift_y=sign)), cost + 4 * reading.centred, "lens"
        )


def _through(affine: Affine2D) -> Callable[[Reading], Reading]:
    return lambda r: replace(r, K=affine.matrix @ r.K, angles=None)


def _crops(reading: Reading, setting: Setting) -> Iterator[Step]:
    """Yield what can be left out between the tracker's crop and the video, in the direction of this file."""
    cut = setting.crop
    to_video = setting.in_video(reading.image)
    if cut is None or not (to_video or setting.in_crop(reading.image)):
        return
    left, _, top, _ = cut.box
    bare = (cut.box[1] - left, cut.box[3] - top)
    padded = (bare[0] + 2 * cut.padding[0], bare[1] + 2 * cut.padding[1])
    corner, border, sized = crop(left, top), pad(*cut.padding), resize(padded, cut.size)
    right = sized @ border @ corner
    nothing = Affine2D()

    def amends(wrong: Affine2D) -> Callable[[Reading], Reading]:
        return _through(right.inverse @ wrong if to_video else right @ wrong.inverse)

    names = ("crop_offset_missing", "padding_missing", "resize_missing")
    for left_out in range(1, 8):
        parts = [nothing if left_out >> i & 1 else part for i, part in enumerate((corner, border, sized))]
        faults = tuple(name for i, name in enumerate(names) if left_out >> i & 1)
        words = " and ".join(name.replace("_missing", "").replace("_", " ") for name in faults)
        cost = ORDINARY * len(faults) + 2 * (len(faults) - 1)
        yield Step(faults, f"put the {words} into K", amends(parts[2] @ parts[1] @ parts[0]), cost, "lens")
    text = "put the padding into K, its share of the resize too"
    yield Step(("padding_missing",), text, amends(resize(bare, cut.size) @ corner), ORDINARY + 1, "lens")
    text = "take the box's corner with the other sign"
    yield Step(("crop_offset_missing",), text, amends(sized @ border @ corner.inverse), STRANGE, "lens")
    text = "take the padding with the other sign"
    yield Step(("padding_missing",), text, amends(sized @ border.inverse @ corner), STRANGE, "lens")
    scale = np.array([sized.scale_x, sized.scale_y]) ** (-1 if to_video else 1)

    def focal_alone(r: Reading) -> Reading:
        K = r.K.copy()
        K[:, [0, 1], [0, 1]] *= scale
        return replace(r, K=K, angles=None)

    yield Step(("resize_missing",), "put the resize into the focal length", focal_alone, UNUSUAL, "lens")


def _resolutions(reading: Reading, setting: Setting) -> Iterator[Step]:
    """Yield K of another of the sizes that are known here."""
    width, height = reading.image
    others = {(setting.side, setting.side), setting.video, reading.stated} - {None, reading.image}

    def scale(factors: tuple[float, float]) -> Callable[[Reading], Reading]:
        return lambda r: scaled_lens(r, np.array(factors))

    for size in sorted(size for size in others if size is not None):
        ways = {(width / size[0], height / size[1]), (width / size[0],) * 2, (height / size[1],) * 2}
        for factors in sorted(ways):
            text = f"scale K from {size[0]}x{size[1]} to {width}x{height} pixels"
            cost = ORDINARY + (factors[0] != factors[1])
            yield Step(("wrong_resolution",), text, scale(factors), cost, "lens")
