"""PyTorch3D's cameras, as the arguments of `PerspectiveCameras` in an `.npz` (or a torch archive, or JSON).

`R` [N, 3, 3], `T` [N, 3], `focal_length` [N, 2], `principal_point` [N, 2], `image_size` [N, 2] as (height, width) and
`in_ndc`. Points are row vectors, X R + T; view axes are x left, y up, z forward. In NDC half the shorter side is 1
and the principal point counts from the centre to the left and up; out of it both are pixels from the left and the top.
PyTorch3D itself writes no file; beside its own names there may be ours: `unit`, `names`, `images`, `crop`, `flame_*`.
Source: reference/cameras/SPEC.md, section 3.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import packed_npz, read_json, write_whole
from marotte.models.safe_files import read_any
from marotte.runtime.camera import Camera, pinhole
from marotte.runtime.cameras import values
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import crop_from
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.head import HeadState

# OpenCV's axes against the view's: x and y have the other sign.
_VIEW = np.diag([-1.0, -1.0, 1.0])
_KEYS = ("R", "T", "focal_length", "principal_point", "image_size")
# The same in files that hold OpenCV's R, t and K too.
_BESIDE = {
    "R": "p3d_R",
    "T": "p3d_T",
    "focal_length": "focal_ndc",
    "principal_point": "pp_ndc",
    "image_size": "image_hw",
}


def opencv_to_pytorch3d(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return R [3, 3] for row vectors, T [3], focal length [2] and principal point [2] in NDC."""
    half = min(camera.width, camera.height) / 2
    size = np.array([camera.width, camera.height])
    focal, centre = np.diag(camera.K)[:2] / half, -(camera.K[:2, 2] - size / 2) / half
    return (_VIEW @ camera.R).T, _VIEW @ camera.t, focal, centre


def pytorch3d_to_opencv(
    R: np.ndarray,
    T: np.ndarray,
    focal_length: np.ndarray,
    principal_point: np.ndarray,
    width: int,
    height: int,
    *,
    in_ndc: bool = True,
    unit: float = 1.0,
) -> Camera:
    """Return the camera of a picture of width x height. Raises MarotteError where R is no rotation."""
    half, size = min(width, height) / 2, np.array([width, height])
    (fx, fy), (cx, cy) = (
        (focal_length * half, size / 2 - half * principal_point) if in_ndc else (focal_length, principal_point)
    )
    return Camera(_VIEW @ R.T, _VIEW @ T, pinhole(fx, fy, cx, cy), width, height, "picture", unit)


def _table(path: Path) -> Mapping[str, Any]:
    """Return the arrays of a file by PyTorch3D's names."""
    table = read_json(path) if path.suffix == ".json" else read_any(path)
    if not isinstance(table, Mapping):
        raise MarotteError(f"{path} holds a {type(table).__name__}, not PyTorch3D's {', '.join(_KEYS)}")
    if all(name in table for name in _BESIDE.values()):
        return {name: table[beside] for name, beside in _BESIDE.items()}
    return table


def _recognises(path: Path) -> bool:
    if not path.is_file() or path.suffix not in (".npz", ".pt", ".pth", ".pkl", ".json"):
        return False
    try:
        table = _table(path)
        return {"R", "T", "focal_length", "image_size"} <= table.keys()
    except MarotteError:
        return False


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    table = dict(_table(path))
    for name, dims in (("R", 3), ("T", 2)):
        if name in table and np.ndim(table[name]) == dims - 1:  # one camera without its batch
            table[name] = np.asarray(table[name])[None]
    R = values.numbers(path, table, "R", (None, 3, 3))
    count = len(R)
    T = values.numbers(path, table, "T", (count, 3))
    in_ndc = bool(np.all(table.get("in_ndc", True)))
    if "image_size" in table:
        sizes = _pairs(path, table, "image_size", count)[:, ::-1]
    elif "size" in options:
        sizes = np.array([options["size"]] * count)
    else:
        raise MarotteError(f"{path} lacks image_size: give the pictures' size (--size)")
    if (sizes < 1).any():
        raise MarotteError(f"{path}: image_size is {sizes.min():g} somewhere: height and width are at least 1")
    focal = _pairs(path, table, "focal_length", count)
    centre = np.zeros((count, 2)) if in_ndc else sizes / 2
    if "principal_point" in table:
        centre = _pairs(path, table, "principal_point", count)
    unit = values.number(path, table, "unit") if "unit" in table else 1.0
    cameras = []
    for index, (width, height) in enumerate(sizes.astype(int).tolist()):
        lens = (focal[index], centre[index], width, height)
        try:
            cameras.append(pytorch3d_to_opencv(R[index], T[index], *lens, in_ndc=in_ndc, unit=unit))
        except MarotteError as error:
            raise MarotteError(f"{path}: camera {index}: {error}") from None
    crop = None
    if "crop" in table:
        parts = np.split(values.numbers(path, table, "crop", (10,)), (2, 6, 8))
        crop = crop_from(path, dict(zip(("video", "box", "padding", "size"), parts, strict=True)), "crop")
    return CameraTrack(
        tuple(cameras),
        names=_texts(path, table, "names", count) or tuple(map(str, range(count))),
        images=_texts(path, table, "images", count),
        root=path.parent,
        crop=crop,
        head=_head(path, table, count),
        fps=values.fps_option(options),
        format="pytorch3d",
    )


def _pairs(path: Path, table: Mapping[str, Any], key: str, count: int) -> np.ndarray:
    """Return [count, 2] of what PyTorch3D accepts: a pair for each camera or one for all.

    Focal lengths without a second dim are one number for each camera, or one for all.
    """
    shape = np.shape(values.entry(path, table, key))
    array = values.numbers(path, table, key, (None,) * len(shape))
    if key == "focal_length" and array.ndim < 2:
        array = array.reshape(-1, 1)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] not in (1, 2) or len(array) not in (1, count):
        raise MarotteError(f"{path}: {key} has shape {list(shape)}, expected [{count}, 2]")
    return np.broadcast_to(array, (count, 2))


def _texts(path: Path, table: Mapping[str, Any], key: str, count: int) -> tuple[str, ...]:
    """Return one text for each camera, none where there are none."""
    if key not in table:
        return ()
    found = tuple(map(str, np.ravel(table[key]).tolist()))
    if len(found) != count:
        raise MarotteError(f"{path}: {key} has {len(found)} entries for {count} cameras")
    return found


def _head(path: Path, table: Mapping[str, Any], count: int) -> HeadState | None:
    """Return the FLAME parameters that we wrote beside the cameras."""
    if "flame_expression" not in table:
        return None
    widths = {"shape": None, "expression": None, "root": 3, "neck": 3, "jaw": 3, "eyes": 6, "eyelids": 2}
    arrays = {
        name: values.numbers(path, table, f"flame_{name}", (None,) if name == "shape" else (count, width))
        for name, width in {**widths, "translation": 3}.items()
    }
    return HeadState(**{name: array.astype(np.float32) for name, array in arrays.items()})


def _write(track: CameraTrack, path: Path) -> None:
    R, T, focal, centre = (np.array(part) for part in zip(*map(opencv_to_pytorch3d, track.cameras), strict=True))
    arrays = {
        "R": R,
        "T": T,
        "focal_length": focal,
        "principal_point": centre,
        "image_size": np.array([(camera.height, camera.width) for camera in track.cameras], np.int64),
        "in_ndc": np.array(True),
        "unit": np.array(track.unit),
        "names": np.array(track.names),
    }
    if track.images:
        arrays["images"] = np.array(track.images)
    if (crop := track.crop) is not None:
        arrays["crop"] = np.array([*crop.video, *crop.box, *crop.padding, *crop.size])
    if track.head is not None:
        arrays |= {f"flame_{field.name}": getattr(track.head, field.name) for field in fields(HeadState)}
    write_whole(path, packed_npz(arrays))


FORMAT = Format(
    name="pytorch3d",
    title="PyTorch3D PerspectiveCameras (.npz)",
    recognises=_recognises,
    read=_read,
    write=_write,
    losses=lambda track: [],
)
