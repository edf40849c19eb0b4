"""A camera file with its faults undone, in its own format; what is no camera in it stays as it was."""

import copy
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import packed_npz, write_whole
from marotte.models.torch_writer import write_torch
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import CameraTrack, write_cameras
from marotte.runtime.cameras.doctor.diagnosis import Diagnosis
from marotte.runtime.cameras.doctor.readings import OPENGL, PYTORCH3D, Reading
from marotte.runtime.cameras.formats.metrical import packed_torch

# What a format cannot hold may be off by this many pixels.
_TOLERANCE = 0.01


def check_target(out: str | Path) -> None:
    """Raise MarotteError where `out` is taken or its folder is missing."""
    out = Path(out)
    if out.exists():
        raise MarotteError(f"{out} is already there: name a new file")
    if not out.parent.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {out.parent}")


def write_mended(diagnosis: Diagnosis, out: str | Path, to: str | None = None) -> None:
    """Write the mended cameras. to: another format than the file's own, which keeps nothing but the cameras.

    Raises MarotteError where `out` exists, nothing explains the file, or the format cannot hold what is right.
    """
    out = Path(out)
    check_target(out)
    if not diagnosis.evidence.get("within_noise"):
        reason = "no known fault explains it" if diagnosis.landmarks is not None else "that needs --landmarks"
        raise MarotteError(f"{diagnosis.path} cannot be mended: {reason}")
    if to is None:
        _WRITERS[diagnosis.reading.format](diagnosis.mended, out)
        return
    reading = diagnosis.mended
    cameras = [
        Camera(R, t, K, round(2 * middle[0]), round(2 * middle[1]), space="video")
        for R, t, K, middle in zip(reading.R, reading.t, reading.K, reading.middles, strict=True)
    ]
    write_cameras(CameraTrack(tuple(cameras), reading.names), out, to)


def can_hold(reading: Reading) -> bool:
    """Tell whether a reading's own format can hold its cameras."""
    try:
        if reading.format in ("gaussian-talker", "gagavatar"):
            _centred_focal(reading, 6.0 * min(reading.image) if reading.format == "gagavatar" else None)
        elif reading.format == "3dgs" and reading.centred:
            return bool(np.abs(_lens(reading)[:, 2:] - reading.middles).max() <= _TOLERANCE)
        elif reading.format in ("insta", "nerf", "imavatar"):
            return reading.format != "imavatar" or min(_one_lens(reading)[2:]) >= 0
    except MarotteError:
        return False
    return True


def _matrices(reading: Reading) -> np.ndarray:
    """Return [N, 4, 4] world to camera in OpenCV axes and metres."""
    matrices = np.tile(np.eye(4), (len(reading), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = reading.R, reading.t
    return matrices


def _lens(reading: Reading) -> np.ndarray:
    """Return [N, 4] fx, fy, cx, cy."""
    K = reading.K
    return np.stack([K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]], axis=1)


def _one_lens(reading: Reading) -> list[float]:
    lens = _lens(reading)
    if np.ptp(lens, axis=0).max() > _TOLERANCE:
        raise MarotteError(f"{reading.format} has one lens for all frames, and the mended cameras differ")
    return [float(number) for number in lens[0]]


def _centred_focal(reading: Reading, focal: float | None = None) -> float:
    """Return the focal length for a format without principal point. focal: the only one that it allows."""
    fx, fy, cx, cy = _one_lens(reading)
    away = np.abs(np.array([cx, cy]) - reading.middles[0]).max()
    if away > _TOLERANCE or abs(fx - fy) > _TOLERANCE or (focal is not None and abs(fx - focal) > _TOLERANCE):
        raise MarotteError(
            f"{reading.format} cannot hold the mended lens (focal length {fx:.2f}, {fy:.2f}, principal point {cx:.2f}, "
            f"{cy:.2f}): write another format, such as --to facelift, or crop the pictures"
        )
    return fx


def _write_json(table: Any, out: Path) -> None:
    write_whole(out, json.dumps(table, indent=1).encode())


def _transforms(reading: Reading, out: Path) -> None:
    table: dict[str, Any] = copy.deepcopy(reading.raw)
    matrices = np.linalg.inv(_matrices(reading))
    if reading.format == "nerf":
        matrices[:, :3, :3] = matrices[:, :3, :3] @ OPENGL
    fx, fy, cx, cy = _one_lens(reading)
    width, height = reading.image
    stated = reading.stated or reading.image
    lens = {"cx": cx / width * stated[0], "cy": cy / height * stated[1]}
    for axis, focal, length in (("x", fx, width), ("y", fy, height)):
        angle = 2 * np.arctan(length / 2 / focal)
        lens |= {f"fl_{axis}": focal, f"camera_angle_{axis}": float(angle), f"{axis}_fov": float(np.rad2deg(angle))}
    if not {"cx", "cy"} & table.keys() and np.abs(np.array([cx, cy]) - reading.middles[0]).max() <= _TOLERANCE:
        del lens["cx"], lens["cy"]
    table |= {key: value for key, value in lens.items() if key in table or key in ("cx", "cy")}
    for frame, matrix in zip(table["frames"], matrices, strict=True):
        frame["transform_matrix"] = matrix.tolist()
        for key in lens.keys() & frame.keys():
            frame[key] = lens[key]
    _write_json(table, out)


def _imavatar(reading: Reading, out: Path) -> None:
    table = copy.deepcopy(reading.raw)
    matrices = _matrices(reading)
    fx, fy, cx, cy = _one_lens(reading)
    width, height = reading.image
    if cx < 0 or cy < 0:
        raise MarotteError(f"imavatar cannot hold the principal point ({cx:.1f}, {cy:.1f}): crop the pictures")
    table["intrinsics"] = [-fx / width, fy / height, cx / width, cy / height]
    for frame, matrix in zip(table["frames"], matrices, strict=True):
        world_mat = OPENGL @ matrix[:3]
        world_mat[:, 3] *= reading.unit
        frame["world_mat"] = world_mat.tolist()
    _write_json(table, out)


def _facelift(reading: Reading, out: Path) -> None:
    table = copy.deepcopy(reading.raw)
    for frame, matrix, lens in zip(table["frames"], _matrices(reading), _lens(reading), strict=True):
        frame["w2c"] = matrix.tolist()
        frame |= dict(zip(("fx", "fy", "cx", "cy"), lens.tolist(), strict=True))
        frame["w"], frame["h"] = reading.image
    _write_json(table, out)


def _viewer(reading: Reading, out: Path) -> None:
    items = copy.deepcopy(reading.raw)
    lens = _lens(reading)
    if reading.centred and np.abs(lens[:, 2:] - reading.middles).max() > _TOLERANCE:
        _centred_focal(reading)
    for item, R, centre, (fx, fy, cx, cy) in zip(items, reading.R, reading.centres, lens, strict=True):
        item |= {"rotation": R.T.tolist(), "position": centre.tolist(), "fx": float(fx), "fy": float(fy)}
        item["width"], item["height"] = reading.image
        if not reading.centred:
            item |= {"cx": float(cx), "cy": float(cy)}
    _write_json(items, out)


def _talker(reading: Reading, out: Path) -> None:
    if isinstance(reading.raw, dict) and "frames" in reading.raw:
        table = copy.deepcopy(reading.raw)
        focal, matrices = _centred_focal(reading), np.linalg.inv(_matrices(reading))
        matrices[:, :3, :3] = matrices[:, :3, :3] @ OPENGL
        table["focal_len"] = focal
        for frame, matrix in zip(table["frames"], matrices, strict=True):
            frame["transform_matrix"] = matrix.tolist()
        _write_json(table, out)
        return
    gl = OPENGL @ reading.R
    theta, phi, psi = (
        np.arctan2(-gl[:, 1, 2], gl[:, 2, 2]),
        np.arcsin(np.clip(gl[:, 0, 2], -1, 1)),
        np.arctan2(gl[:, 0, 1], gl[:, 0, 0]),
    )
    changed = {
        "euler": np.stack([theta, phi, psi], axis=1).astype(np.float32),
        "trans": (reading.t @ OPENGL * reading.unit).astype(np.float32),
        "focal": np.array([_centred_focal(reading)], np.float32),
    }
    write_torch(out, {**reading.raw, **changed})


def _p3d(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Return R for row vectors and T, float32, in the format's unit."""
    R = np.swapaxes(PYTORCH3D @ reading.R, 1, 2)
    return R.astype(np.float32), (reading.t @ PYTORCH3D * reading.unit).astype(np.float32)


def _gagavatar(reading: Reading, out: Path) -> None:
    _centred_focal(reading, 12.0 * min(reading.image) / 2)
    matrices = np.concatenate([_p3d(reading)[0], _p3d(reading)[1][..., None]], axis=2)
    entries = zip(reading.raw.items(), matrices, strict=True)
    write_torch(out, {name: {**entry, "transform_matrix": matrix} for (name, entry), matrix in entries})


def _mammal(reading: Reading, out: Path) -> None:
    content = reading.raw
    named = isinstance(content, dict)
    keys = {str(key): key for key in content} if named else {str(i): i for i in range(len(content))}
    cameras = {
        keys[name]: {**content[keys[name]], "K": K, "R": R, "T": t * reading.unit}
        for name, K, R, t in zip(reading.names, reading.K, reading.R, reading.t, strict=True)
    }
    stream = io.BytesIO()
    pickle.dump(cameras if named else [cameras[i] for i in range(len(content))], stream, protocol=2)
    # numpy 1 lacks the new name of this module, numpy 2 knows the old one.
    write_whole(out, stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def _pytorch3d(reading: Reading, out: Path) -> None:
    R, T = _p3d(reading)
    lens = _lens(reading)
    half, middles = reading.middles.min(axis=1, keepdims=True), reading.middles
    arrays = {
        "R": R,
        "T": T,
        "focal_length": lens[:, :2] / half,
        "principal_point": (middles - lens[:, 2:]) / half,
        "image_size": 2 * middles[:, ::-1],
        "in_ndc": np.array(True),
    }
    write_whole(out, packed_npz(arrays))


def _splatting_avatar(reading: Reading, out: Path) -> None:
    kept = {key: reading.raw[key] for key in ("names",) if key in reading.raw}
    arrays = {
        "R_stored": np.swapaxes(reading.R, 1, 2),
        "T_stored": reading.t * reading.unit,
        "intr": _lens(reading),
        "wh": np.tile(reading.image, (len(reading), 1)),
    }
    write_whole(out, packed_npz(kept | arrays))


def _metrical(reading: Reading, out: Path) -> None:
    width, height = reading.image
    half = min(width, height) / 2
    R, T = _p3d(reading)
    single = reading.path.is_file()
    if not single:
        out.mkdir()
    for index, (name, table) in enumerate(zip(reading.names, reading.raw, strict=True)):
        fx, _, cx, cy = _lens(reading)[index]
        centre = (np.array([width, height]) / 2 - (cx, cy)) / half
        camera = {
            "R": R[index, :2].reshape(1, 6),
            "t": T[index][None],
            "fl": np.array([[fx / half]], np.float32),
            "pp": centre[None].astype(np.float32),
        }
        opencv = {key: getattr(reading, key)[index][None].astype(np.float32) for key in ("R", "t", "K")}
        size = np.array([height, width], np.int64)
        mended = _plain({**table, "camera": camera, "opencv": opencv, "img_size": size})
        write_whole(out if single else out / f"{name}.frame", packed_torch(mended))


def _plain(value: Any) -> Any:
    """Return tables of arrays that own their numbers, as pickles need them."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return np.array(value) if isinstance(value, np.ndarray) else value


_WRITERS: dict[str, Callable[[Reading, Path], None]] = {
    "metrical": _metrical,
    "insta": _transforms,
    "nerf": _transforms,
    "imavatar": _imavatar,
    "facelift": _facelift,
    "3dgs": _viewer,
    "splatting-avatar": _splatting_avatar,
    "gaussian-talker": _talker,
    "gagavatar": _gagavatar,
    "mammal": _mammal,
    "pytorch3d": _pytorch3d,
}
