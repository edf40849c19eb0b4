"""Cameras of 3D Gaussian Splatting: Inria's original, and SplattingAvatar's, which keeps the principal point.

In memory both store the rotation transposed (camera to world) beside the translation of world to camera. The
original describes the lens by two fields of view, so its principal point is the picture's centre; its viewer's file
`cameras.json` has camera positions and rotations from camera to world, and focal lengths in pixels. SplattingAvatar
never writes its cameras; here they are an `.npz` of the fields by the names of the reference fixtures: `R_stored`
[N, 3, 3], `T_stored` [N, 3], `intr` [N, 4] (fx, fy, cx, cy), `wh` [N, 2], and the matrices that its rasterizer is
handed. Source: reference/cameras/SPEC.md, section 7.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import packed_npz, write_whole
from marotte.models.safe_files import read_npz
from marotte.runtime.camera import Camera, pinhole
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import RECORD, crop_to_record, record_of, record_to_crop
from marotte.runtime.cameras.track import CameraTrack, Crop
from marotte.runtime.imavatar import UNIT, opencv_to_3dgs

INRIA, SPLATTING_AVATAR = "3dgs", "splatting-avatar"
_JSON = "cameras.json"
_OWN = ("width", "height", "position", "rotation", "fx", "fy", "img_name", "id", RECORD)


class InriaCamera(NamedTuple):
    """The original's camera in memory.

    R: [3, 3] the rotation from camera to world; T: [3] the translation from world to camera; FoVx, FoVy: whole angles
    in radians; width, height: of the picture.
    """

    R: np.ndarray
    T: np.ndarray
    FoVx: float
    FoVy: float
    width: int
    height: int


def opencv_to_inria(camera: Camera) -> InriaCamera:
    """Return the original's camera; the principal point is lost."""
    size, focal = (camera.width, camera.height), (camera.K[0, 0], camera.K[1, 1])
    fov_x, fov_y = (float(2 * np.arctan2(n, 2 * f)) for n, f in zip(size, focal, strict=True))
    return InriaCamera(camera.R.T, camera.t, fov_x, fov_y, *size)


def inria_to_opencv(given: InriaCamera) -> Camera:
    """Return the camera, with a centred principal point. Raises MarotteError where the fields are none."""
    width, height = given.width, given.height
    fx, fy = width / (2 * np.tan(given.FoVx / 2)), height / (2 * np.tan(given.FoVy / 2))
    return Camera(np.asarray(given.R).T, given.T, pinhole(fx, fy, width / 2, height / 2), width, height)


def opencv_to_viewer(camera: Camera) -> dict[str, Any]:
    """Return the geometry of an entry of `cameras.json`; the principal point is lost."""
    return {
        "width": camera.width,
        "height": camera.height,
        # By the inverse and not the transpose: the rotations of float32 files are not quite orthonormal.
        "position": np.linalg.solve(camera.R, -camera.t).tolist(),
        "rotation": camera.R.T.tolist(),
        "fy": float(camera.K[1, 1]),
        "fx": float(camera.K[0, 0]),
    }


def viewer_to_opencv(item: Any, unit: float = 1.0, path: Path = Path("camera"), where: str = "") -> Camera:
    """Return the camera of an entry of `cameras.json`. path, where: file and place, for errors.

    Raises MarotteError where a key is missing or is not what it should be.
    """
    width, height = (values.whole_number(path, item, key, 1, where) for key in ("width", "height"))
    R = values.numbers(path, item, "rotation", (3, 3), where).T
    t = -R @ values.numbers(path, item, "position", (3,), where)
    fx, fy = (values.number(path, item, key, where) for key in ("fx", "fy"))
    K = pinhole(fx, fy, width / 2, height / 2)
    return values.camera(path, where, R=R, t=t, K=K, width=width, height=height, space="video", unit=unit)


def _read_viewer(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    path = values.found(path, _JSON)
    items = values.read_json_list(path)
    crop, unit = record_to_crop(path, record_of(str(path), items[0] if isinstance(items[0], Mapping) else {}))
    cameras = tuple(viewer_to_opencv(item, unit, path, f"[{i}]") for i, item in enumerate(items))
    return CameraTrack(
        cameras,
        tuple(str(item.get("img_name", i)) for i, item in enumerate(items)),
        root=path.parent,
        crop=crop,
        fps=values.fps_option(options),
        format=INRIA,
        extra={
            "id": [item.get("id", i) for i, item in enumerate(items)],
            "items": [{k: v for k, v in item.items() if k not in _OWN} for item in items],
        },
        notes=("cameras.json has no principal point: the centre of the picture is taken",),
    )


def _write_viewer(track: CameraTrack, path: Path) -> None:
    keep = track.extra if track.format == INRIA else {}
    items: list[dict[str, Any]] = []
    for i, (camera, name) in enumerate(zip(track.cameras, track.names, strict=True)):
        own = {"id": keep.get("id", range(len(track)))[i], "img_name": name}
        items.append({**own, **opencv_to_viewer(camera), **keep.get("items", {i: {}})[i]})
    if record := crop_to_record(track):
        items[0][RECORD] = record
    write_whole(path, json.dumps(items, indent=1).encode())


def _read_npz(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    arrays = read_npz(path)
    R = values.numbers(path, arrays, "R_stored", (None, 3, 3))
    if not len(R):
        raise MarotteError(f"{path}: R_stored has no camera")
    T = values.numbers(path, arrays, "T_stored", (len(R), 3))
    lens = values.numbers(path, arrays, "intr", (len(R), 4))
    sizes = _sizes(path, arrays, options, lens)
    crop = _crop(path, arrays)
    cameras = tuple(
        values.camera(
            path, f"camera {i}", R=R[i].T, t=T[i], K=pinhole(*lens[i]), width=w, height=h, space="video", unit=UNIT
        )
        for i, (w, h) in enumerate(sizes)
    )
    names = arrays.get("names", np.arange(len(R)))
    if names.shape != (len(R),):
        raise MarotteError(f"{path}: names has shape {list(names.shape)}, expected [{len(R)}]")
    return CameraTrack(
        cameras,
        tuple(map(str, names)),
        root=path.parent,
        crop=crop,
        fps=values.fps_option(options),
        format=SPLATTING_AVATAR,
    )


def _crop(path: Path, arrays: Mapping[str, np.ndarray]) -> Crop | None:
    """Return the crop from our own entry."""
    try:
        record = json.loads(str(arrays.get(RECORD, "{}")))
    except ValueError as error:
        raise MarotteError(f"{path}: {RECORD} is not valid JSON: {error}") from None
    return record_to_crop(path, record_of(str(path), {RECORD: record}))[0]


def _sizes(
    path: Path, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any], lens: np.ndarray
) -> list[tuple[int, int]]:
    """Return (width, height) of each picture: as the file says them, or as its projection has them, or as given."""
    if "wh" in arrays:
        sizes = values.numbers(path, arrays, "wh", (len(lens), 2))
    elif "projection_matrix" in arrays:
        projection = values.numbers(path, arrays, "projection_matrix", (len(lens), 4, 4))
        scale = np.stack([projection[:, 0, 0], projection[:, 1, 1]], axis=1)
        sizes = np.rint(2 * lens[:, :2] / np.where(scale > 0, scale, np.inf))
    elif "size" in options:
        sizes = np.tile(options["size"], (len(lens), 1))
    else:
        raise MarotteError(f"{path} lacks wh: give the size of the pictures (--size), such as 512x512")
    return [(int(width), int(height)) for width, height in sizes]


def _write_npz(track: CameraTrack, path: Path) -> None:
    cameras = track.scaled(UNIT).cameras
    given = [opencv_to_3dgs(camera) for camera in cameras]
    arrays = {
        "R_stored": np.array([camera.R.T for camera in cameras]),
        "T_stored": np.array([camera.t for camera in cameras]),
        "intr": np.array([camera.K[[0, 1, 0, 1], [0, 1, 2, 2]] for camera in cameras]),
        "wh": np.array([(camera.width, camera.height) for camera in cameras]),
        "names": np.array(track.names),
        "world_view_transform": np.array([matrices.view for matrices in given]),
        "projection_matrix": np.array([matrices.projection for matrices in given]),
        "full_proj_transform": np.array([matrices.full_projection for matrices in given]),
        "camera_center": np.array([matrices.centre for matrices in given]),
    }
    if track.crop is not None:
        arrays[RECORD] = np.array(json.dumps(crop_to_record(track)))
    write_whole(path, packed_npz(arrays))


def _is_npz(path: Path) -> bool:
    """Tell by the names of the arrays, which a zip lists at its end."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return {"R_stored.npy", "T_stored.npy", "intr.npy"} <= set(archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


FORMATS = (
    Format(
        name=INRIA,
        title="3D Gaussian Splatting's cameras.json",
        recognises=lambda path: values.json_has(path, _JSON, "rotation", "position", "fy", begins=b"["),
        read=_read_viewer,
        write=_write_viewer,
        losses=losses.principal_point,
    ),
    Format(
        name=SPLATTING_AVATAR,
        title="SplattingAvatar's cameras, as an npz",
        recognises=_is_npz,
        read=_read_npz,
        write=_write_npz,
        losses=lambda track: [],
        unit=UNIT,
    ),
)
