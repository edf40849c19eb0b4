"""Lenient readings of formats that are arrays: metrical-tracker, GaussianTalker, GAGAvatar, MAMMAL, PyTorch3D, 3DGS.

Sources: reference/cameras/SPEC.md, sections 3, 4, 7 to 10.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.rotations import sixd_to_matrix
from marotte.models.safe_files import read_any, read_npz
from marotte.runtime.cameras.doctor import values
from marotte.runtime.cameras.doctor.read_json import read_talker_transforms
from marotte.runtime.cameras.doctor.readings import (
    OPENGL,
    PYTORCH3D,
    Finding,
    Reading,
    euler_matrices,
    flag,
    intrinsics,
)
from marotte.runtime.cameras.doctor.setting import Setting

_GAGAVATAR_FOCAL, _GAGAVATAR_UNIT = 12.0, 5.0
_TALKER_UNIT = 10.0
_SPLATTING_UNIT = 4.0
_MAMMAL_UNIT, _MAMMAL_IMAGE = 1000.0, (1152, 1024)


def read_metrical(path: Path, setting: Setting) -> Reading:
    """Return the cameras of a folder of `.frame` files, or of one: the `opencv` block; the other one beside it."""
    files = sorted(path.glob("*.frame")) if path.is_dir() else [path]
    if not files:
        raise MarotteError(f"{path} has no .frame files")
    tables = [read_any(file) for file in files]
    parts: dict[str, list[np.ndarray]] = {key: [] for key in ("R", "t", "K", "6D", "T", "fl", "pp", "size")}
    findings = []
    for file, table in zip(files, tables, strict=True):
        opencv, camera = (values.entry(file, table, key) for key in ("opencv", "camera"))
        for key, block, name, shape in (
            ("R", opencv, "R", (3, 3)),
            ("t", opencv, "t", (3,)),
            ("K", opencv, "K", (3, 3)),
            ("6D", camera, "R", (6,)),
            ("T", camera, "t", (3,)),
            ("fl", camera, "fl", ()),
            ("pp", camera, "pp", (2,)),
            ("size", table, "img_size", (2,)),
        ):
            parts[key].append(values.numbers(file, block, name, shape))
        stated_id = str(table.get("frame_id", file.stem))
        if stated_id.isdigit() and file.stem.isdigit() and int(stated_id) != int(file.stem):
            findings.append(Finding("frame_shift", f"{file.name} says that it is frame {stated_id}", 0.7))
    arrays = {key: np.stack(found) for key, found in parts.items()}
    stated = (int(arrays["size"][0, 1]), int(arrays["size"][0, 0]))
    width, height = stated
    half = min(width, height) / 2
    reading = Reading(
        "metrical",
        path,
        arrays["R"],
        arrays["t"],
        arrays["K"],
        setting.image or stated,
        tuple(file.stem for file in files),
        label="the block opencv",
        stated=stated,
        findings=tuple(findings[:1]),
        raw=tables,
    )
    focal = arrays["fl"] * half
    centre = np.array([width, height]) / 2 - half * arrays["pp"]
    rows = sixd_to_matrix(arrays["6D"])
    other = replace(
        reading,
        R=PYTORCH3D @ np.swapaxes(rows, 1, 2),
        t=arrays["T"] @ PYTORCH3D,
        K=intrinsics(len(files), focal, focal, *centre.T),
        label="the block camera",
        axes="pytorch3d",
    )
    return replace(reading, fields=((other, np.arange(len(files))),))


def read_talker(path: Path, setting: Setting) -> Reading:
    """Return the cameras of `track_params.pt`; intrinsics of `transforms_*.json` beside it, as its reader does."""
    if path.suffix == ".json":
        return read_talker_transforms(path, setting)[0]
    table = read_any(path)
    euler = values.numbers(path, table, "euler", (None, 3))
    trans = values.numbers(path, table, "trans", (len(euler), 3))
    focal = values.number(path, table, "focal")
    beside = [
        read_talker_transforms(file, setting)
        for file in (path.with_name(f"transforms_{part}.json") for part in ("train", "val"))
        if file.is_file()
    ]
    image = setting.image or (beside[0][0].image if beside else (512, 512))
    width, height = image
    reading = Reading(
        "gaussian-talker",
        path,
        OPENGL @ euler_matrices(euler),
        trans @ OPENGL / _TALKER_UNIT,
        intrinsics(len(euler), focal, focal, width / 2, height / 2),
        image,
        tuple(map(str, range(len(euler)))),
        label="track_params.pt",
        axes="opengl",
        unit=_TALKER_UNIT,
        euler=euler,
        centred=True,
        raw=table,
    )
    if not beside:
        return reading
    fields = [(other, index) for other, index in beside if index.max() < len(euler)]
    in_json = replace(reading, label="track_params.pt's focal", euler=None)
    return replace(
        reading, K=np.repeat(beside[0][0].K[:1], len(euler), 0), fields=((in_json, np.arange(len(euler))), *fields)
    )


def read_gagavatar(path: Path, setting: Setting) -> Reading:
    """Return the cameras of `tracked.pt`; its lens is not stored: 12 in NDC, centred."""
    table = read_any(path)
    found = [values.numbers(path, entry, "transform_matrix", (3, 4), str(name)) for name, entry in table.items()]
    matrices = np.stack(found)
    image = setting.image or (512, 512)
    focal = _GAGAVATAR_FOCAL * min(image) / 2
    return Reading(
        "gagavatar",
        path,
        PYTORCH3D @ np.swapaxes(matrices[:, :, :3], 1, 2),
        matrices[:, :, 3] @ PYTORCH3D / _GAGAVATAR_UNIT,
        intrinsics(len(matrices), focal, focal, image[0] / 2, image[1] / 2),
        image,
        tuple(map(str, table)),
        axes="pytorch3d",
        unit=_GAGAVATAR_UNIT,
        centred=True,
        raw=table,
    )


def read_mammal(path: Path, setting: Setting) -> Reading:
    """Return the cameras of `new_cam.pkl`: list or dict; the translation is in millimetres."""
    content = read_any(path)
    if isinstance(content, Mapping):
        keys = sorted(content, key=lambda key: (0, int(key), "") if str(key).isdigit() else (1, 0, str(key)))
        items = [(str(key), content[key]) for key in keys]
    else:
        items = [(str(number), item) for number, item in enumerate(content)]
    arrays = {
        key: np.stack([values.numbers(path, item, key, shape, name) for name, item in items])
        for key, shape in (("K", (3, 3)), ("R", (3, 3)), ("T", (3,)))
    }
    image = setting.image or _MAMMAL_IMAGE
    names = tuple(name for name, _ in items)
    return Reading("mammal", path, arrays["R"], arrays["T"] / _MAMMAL_UNIT, arrays["K"], image, names,
                   unit=_MAMMAL_UNIT, raw=content)  # fmt: skip


def read_pytorch3d(path: Path, setting: Setting) -> Reading:
    """Return the cameras of an npz of PyTorch3D's: R for row vectors, T, focal length and principal point."""
    arrays = read_npz(path)
    names = {
        "R": flag(arrays, "p3d_R", "R"),
        "T": flag(arrays, "p3d_T", "T"),
        "focal": flag(arrays, "focal_ndc", "focal_length", "focal"),
        "centre": flag(arrays, "pp_ndc", "principal_point"),
        "size": flag(arrays, "image_hw", "image_size"),
    }
    for name in ("R", "T", "focal"):
        if names[name] is None:
            raise MarotteError(f"{path} has no {name}: it is not PyTorch3D's")
    count = len(arrays[str(names["R"])])
    R = values.numbers(path, arrays, names["R"], (count, 3, 3))
    T = values.numbers(path, arrays, names["T"], (count, 3))
    focal = np.asarray(arrays[str(names["focal"])], np.float64)
    if focal.size not in (1, count, 2 * count):
        raise MarotteError(f"{path}: {names['focal']} has {focal.size} numbers for {count} cameras")
    focal = np.broadcast_to(focal.reshape(-1, 2 if focal.size == 2 * count else 1), (count, focal.size // count or 1))
    sizes = _sizes(path, arrays, names["size"], setting, count)
    half = sizes.min(axis=1, keepdims=True) / 2
    ndc = _in_ndc(arrays, focal)
    default = np.zeros((count, 2)) if ndc else sizes / 2
    centre = values.numbers(path, arrays, names["centre"], (count, 2)) if names["centre"] else default
    if ndc:
        focal, centre = focal * half, sizes / 2 - half * centre
    stated = (int(sizes[0, 0]), int(sizes[0, 1]))
    return Reading(
        "pytorch3d",
        path,
        PYTORCH3D @ np.swapaxes(R, 1, 2),
        T @ PYTORCH3D,
        intrinsics(count, focal[:, 0], focal[:, -1], *centre.T),
        setting.image or stated,
        tuple(map(str, arrays.get("names", range(count)))),
        axes="pytorch3d",
        stated=stated,
        sizes=sizes if setting.image is None and len(np.unique(sizes, axis=0)) > 1 else None,
        raw=arrays,
    )


def read_splatting_avatar(path: Path, setting: Setting) -> Reading:
    """Return SplattingAvatar's cameras: R stored transposed, the principal point kept."""
    arrays = read_npz(path)
    count = len(arrays["R_stored"])
    R = np.swapaxes(values.numbers(path, arrays, "R_stored", (count, 3, 3)), 1, 2)
    t = values.numbers(path, arrays, "T_stored", (count, 3)) / _SPLATTING_UNIT
    lens = values.numbers(path, arrays, "intr", (count, 4))
    stated = None
    if "wh" in arrays:
        stated = (int(arrays["wh"][0, 0]), int(arrays["wh"][0, 1]))
    elif "projection_matrix" in arrays:
        projection = arrays["projection_matrix"][0]
        stated = (round(float(2 * lens[0, 0] / projection[0, 0])), round(float(2 * lens[0, 1] / projection[1, 1])))
    image = setting.image or stated or (512, 512)
    reading = Reading("splatting-avatar", path, R, t, intrinsics(count, *lens.T), image, tuple(map(str, range(count))),
                      unit=_SPLATTING_UNIT, stated=stated, raw=arrays)  # fmt: skip
    if "world_view_transform" not in arrays:
        return reading
    view = np.swapaxes(values.numbers(path, arrays, "world_view_transform", (count, 4, 4)), 1, 2)
    other = replace(reading, R=view[:, :3, :3], t=view[:, :3, 3] / _SPLATTING_UNIT, label="world_view_transform")
    return replace(reading, fields=((other, np.arange(count)),))


def _sizes(path: Path, arrays: Mapping[str, Any], key: str | None, setting: Setting, count: int) -> np.ndarray:
    """Return (width, height) [N, 2] of a file that has them as (height, width)."""
    if key is None:
        if setting.image is None:
            raise MarotteError(f"{path} has no image_size: give the size of the pictures, --size 512x512")
        return np.tile(np.array(setting.image, np.float64), (count, 1))
    return np.broadcast_to(np.asarray(arrays[key], np.float64).reshape(-1, 2)[:, ::-1], (count, 2))


def _in_ndc(arrays: Mapping[str, np.ndarray], focal: np.ndarray) -> bool:
    if "focal_ndc" in arrays:
        return True
    if "in_ndc" in arrays:
        return bool(np.all(arrays["in_ndc"]))
    return bool(np.median(np.abs(focal)) < 50)  # no picture is seen through 50 half pictures of focal length
