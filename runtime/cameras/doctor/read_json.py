"""Lenient readings of the formats that are JSON: INSTA, NeRF, IMavatar, 3DGS, FaceLift, GaussianTalker's transforms.

Sources: reference/cameras/SPEC.md, sections 5 to 8 and 10.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json
from marotte.runtime.cameras.doctor import values
from marotte.runtime.cameras.doctor.readings import (
    OPENGL,
    Finding,
    Reading,
    intrinsics,
    inverted,
    picture_size,
)
from marotte.runtime.cameras.doctor.setting import Setting, Size

# INSTA's order: key, and how many radians its unit is; 0 for pixels.
_FOCAL = (("{}_fov", np.pi / 180), ("fl_{}", 0.0), ("camera_angle_{}", 1.0))
_IMAVATAR_UNIT = 4.0


def read_transforms(path: Path, setting: Setting, kind: str) -> Reading:
    """Return the cameras of `transforms.json`. kind: `insta` or `nerf`."""
    table = read_json(path)
    frames = _frames(path, table)
    matrices = _matrices(path, frames, "transform_matrix")
    names = tuple(str(frame.get("file_path", number)) for number, frame in enumerate(frames))
    stated = _stated(table)
    image = picture_size(setting, path.parent, names) or stated or _twice_centre(table)
    if image is None:
        raise MarotteError(f"{path} has no w and h: give the size of the pictures, --size 512x512")
    R, t = inverted(matrices, path, "transform_matrix")
    if kind == "nerf":
        R, t = OPENGL @ R, t @ OPENGL
    per_key = {key: _focal(path, table, frames, key, image) for key in ("x", "y")}
    used = next((form for form, _ in _FOCAL if form in per_key["x"]), None)
    if used is None:
        raise MarotteError(f"{path} has no x_fov, fl_x or camera_angle_x: it says no focal length")
    size = stated or image
    centre = [
        _per_frame(path, table, frames, f"c{axis}", length / 2) / length * pixels
        for axis, length, pixels in zip("xy", size, image, strict=True)
    ]
    made = [_lens(per_key, form, centre, len(frames)) for form, _ in _FOCAL if form in per_key["x"]]
    common = Reading(
        kind,
        path,
        R,
        t,
        made[0][0],
        image,
        names,
        axes="opengl" if kind == "nerf" else "opencv",
        stored_c2w=True,
        centred="cx" not in table and not any("cx" in frame for frame in frames),
        stated=stated,
        raw=table,
    )
    everyone = np.arange(len(frames))
    readings = [
        replace(
            common, K=K, angles=angles, angle_unit="degrees" if form == "{}_fov" else "radians", label=form.format("x")
        )
        for (form, _), (K, angles) in zip([f for f in _FOCAL if f[0] in per_key["x"]], made, strict=True)
    ]
    others = [(other, everyone) for other in readings[1:]]
    return replace(readings[0], fields=tuple(others + _splits(path, setting, kind, names)))


def _focal(
    path: Path, table: Mapping[str, Any], frames: list[dict[str, Any]], axis: str, image: Size
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return focal lengths [N] in pixels, and angles [N] in radians where they come from these, by key."""
    found: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    length = image["xy".index(axis)]
    for form, unit in _FOCAL:
        key = form.format(axis)
        if key not in table and not all(key in frame for frame in frames):
            continue
        stored = _per_frame(path, table, frames, key, np.nan)
        with np.errstate(divide="ignore"):
            found[form] = (length / 2 / np.tan(stored * unit / 2), stored * unit) if unit else (stored, None)
    return found


def _lens(
    per_key: Mapping[str, dict[str, tuple[np.ndarray, np.ndarray | None]]], form: str, centre: list, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    fx, across = per_key["x"][form]
    fy, down = per_key["y"].get(form, (fx, None))
    angles = None
    if across is not None:
        angles = np.stack([across, across if down is None else down], axis=1)
    return intrinsics(count, fx, fy, *centre), angles


def _splits(path: Path, setting: Setting, kind: str, names: tuple[str, ...]) -> list[tuple[Reading, np.ndarray]]:
    """Return `transforms_train.json` and the like beside `transforms.json`, as far as their frames are the same."""
    found = []
    for name in ("transforms_train.json", "transforms_test.json", "transforms_val.json"):
        part = path.with_name(name)
        if path.name != "transforms.json" or not part.is_file():
            continue
        other = read_transforms(part, setting, kind)
        index = [names.index(each) if each in names else -1 for each in other.names]
        if index and min(index) >= 0:
            found.append((replace(other, label=name, fields=()), np.array(index)))
    return found


def read_imavatar(path: Path, setting: Setting) -> Reading:
    """Return the cameras of `flame_params.json`, as SplattingAvatar takes them."""
    table = read_json(path)
    frames = _frames(path, table)
    matrices = _matrices(path, frames, "world_mat")
    lens = values.numbers(path, table, "intrinsics", (4,))
    names = tuple(str(frame.get("file_path", number)) for number, frame in enumerate(frames))
    image = picture_size(setting, path.parent, names) or (512, 512)
    findings = []
    if np.abs(lens).max() > 100:
        text = f"intrinsics {lens.round(3).tolist()} look like pixels; SplattingAvatar multiplies them by the size"
        findings.append(Finding("wrong_resolution", text))
    poses = [np.ravel(frame.get("pose", [])) for frame in frames]
    largest = max((float(np.abs(pose).max()) for pose in poses if pose.dtype.kind in "fi" and pose.size), default=0.0)
    if largest > 2 * np.pi:
        text = f"pose goes up to {largest:.1f}: these are degrees, rotation vectors are radians"
        findings.append(Finding("degrees_for_radians", text))
    width, height = image
    fx, fy, cx, cy = np.abs(lens) * (width, height, width, height)
    return Reading(
        "imavatar",
        path,
        OPENGL @ matrices[:, :3, :3],
        matrices[:, :3, 3] @ OPENGL / _IMAVATAR_UNIT,
        intrinsics(len(frames), fx, fy, cx, cy),
        image,
        names,
        axes="opengl",
        unit=_IMAVATAR_UNIT,
        findings=tuple(findings),
        raw=table,
    )


def read_facelift(path: Path, setting: Setting) -> Reading:
    """Return the cameras of `opencv_cameras.json`; its w and h are not read by FaceLift."""
    table = read_json(path)
    frames = _frames(path, table)
    matrices = _matrices(path, frames, "w2c")
    names = tuple(str(frame.get("file_path", number)) for number, frame in enumerate(frames))
    lens = np.array(
        [
            [values.number(path, f, key, f"frames[{i}]") for key in ("fx", "fy", "cx", "cy")]
            for i, f in enumerate(frames)
        ]
    )
    stated = _stated(frames[0])
    image = picture_size(setting, path.parent, names) or stated
    if image is None:
        raise MarotteError(f"{path} has no w and h: give the size of the pictures, --size 512x512")
    return Reading(
        "facelift",
        path,
        matrices[:, :3, :3],
        matrices[:, :3, 3],
        intrinsics(len(frames), *lens.T),
        image,
        names,
        stated=stated,
        raw=table,
    )


def read_viewer(path: Path, setting: Setting) -> Reading:
    """Return the cameras of 3DGS's `cameras.json`: positions, and rotations from camera to world."""
    items = values.read_json_list(path)
    where = [f"[{i}]" for i in range(len(items))]
    rotation = np.stack([values.numbers(path, x, "rotation", (3, 3), at) for x, at in zip(items, where, strict=True)])
    position = np.stack([values.numbers(path, x, "position", (3,), at) for x, at in zip(items, where, strict=True)])
    focal = np.array(
        [[values.number(path, x, k, at) for k in ("fx", "fy")] for x, at in zip(items, where, strict=True)]
    )
    names = tuple(str(item.get("img_name", i)) for i, item in enumerate(items))
    stated = _stated({"w": items[0].get("width"), "h": items[0].get("height")})
    image = setting.image or stated
    if image is None:
        raise MarotteError(f"{path} has no width and height: give the size of the pictures, --size 512x512")
    has_centre = all("cx" in item and "cy" in item for item in items)
    centre = np.array([[values.number(path, x, k) for k in ("cx", "cy")] for x in items]) if has_centre else None
    R, t = inverted(np.concatenate([rotation, position[..., None]], axis=2), path, "rotation")
    cx, cy = (np.full(len(items), n / 2) for n in image) if centre is None else centre.T
    return Reading(
        "3dgs",
        path,
        R,
        t,
        intrinsics(len(items), focal[:, 0], focal[:, 1], cx, cy),
        image,
        names,
        stored_c2w=True,
        centred=not has_centre,
        stated=stated,
        raw=items,
    )


def read_talker_transforms(path: Path, setting: Setting) -> tuple[Reading, np.ndarray]:
    """Return the cameras of GaussianTalker's `transforms_*.json`, and their frame numbers [N]."""
    table = read_json(path)
    frames = _frames(path, table)
    R, t = inverted(_matrices(path, frames, "transform_matrix"), path, "transform_matrix")
    focal, cx, cy = (values.number(path, table, key) for key in ("focal_len", "cx", "cy"))
    index = np.array([values.number(path, f, "img_id", f"frames[{i}]") for i, f in enumerate(frames)]).astype(int)
    reading = Reading(
        "gaussian-talker",
        path,
        OPENGL @ R,
        t @ OPENGL,
        intrinsics(len(frames), focal, focal, cx, cy),
        setting.image or (round(2 * cx), round(2 * cy)),
        tuple(map(str, index)),
        label=path.name,
        axes="opengl",
        stored_c2w=True,
        centred=True,
        raw=table,
    )
    return reading, index


def _frames(path: Path, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    frames = table.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise MarotteError(f"{path} has no list of 'frames': it holds no cameras")
    return frames


def _matrices(path: Path, frames: list[dict[str, Any]], key: str) -> np.ndarray:
    """Return [N, 3, 4]."""
    found = [values.numbers(path, frame, key, (None, 4), f"frames[{number}]") for number, frame in enumerate(frames)]
    if any(len(matrix) not in (3, 4) for matrix in found):
        raise MarotteError(f"{path}: a {key} is neither 3x4 nor 4x4: export it again")
    return np.stack([matrix[:3] for matrix in found])


def _stated(table: Mapping[str, Any]) -> Size | None:
    try:
        width, height = round(float(table["w"])), round(float(table["h"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (width, height) if min(width, height) > 0 else None


def _twice_centre(table: Mapping[str, Any]) -> Size | None:
    return _stated({"w": 2 * table["cx"], "h": 2 * table["cy"]}) if {"cx", "cy"} <= table.keys() else None


def _per_frame(path: Path, table: Mapping[str, Any], frames: list[dict[str, Any]], key: str, default: float) -> Any:
    """Return a value [N] that stands at the top and may stand in each frame again."""
    top = values.number(path, table, key) if key in table else default
    return np.array(
        [values.number(path, f, key, f"frames[{i}]") if key in f else top for i, f in enumerate(frames)], np.float64
    )
