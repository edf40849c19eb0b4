"""GaussianTalker's person folder: `track_params.pt` beside `transforms_train.json` and `transforms_val.json`.

The face tracker's poses are in the .pt: `euler` [N, 3] radians and `trans` [N, 3], world to camera in OpenGL axes
(x right, y up, z backward), and one `focal` in pixels; its face is the Basel Face Model's (`id` [1, 100], `exp`
[N, 79], `vertices` [N, V, 3]), whose unit is a decimetre. The json files name the frames (the first int(10 N / 11)
train) and give the lens, `focal_len`, `cx`, `cy`: the published reader takes the picture as 2 cx by 2 cy, and ignores
their camera-to-world matrices, whose translation is a tenth. Sources: reference/cameras/SPEC.md, section 8;
reference/gaussiantalker/SPEC.md, section 6.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json, write_whole
from marotte.models.safe_files import read_any
from marotte.models.torch_writer import write_torch
from marotte.runtime.camera import FACING, Camera, pinhole
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import RECORD, crop_to_record, record_of, record_to_crop
from marotte.runtime.cameras.track import CameraTrack

NAME = "gaussian-talker"
UNIT = 10.0
PARAMS = "track_params.pt"
SPLITS = ("transforms_train.json", "transforms_val.json")
_IDENTITY, _EXPRESSION = 100, 79
# Half the side, in FLAME units, of the box that stands for the head's vertices where there are none.
_BOX = 0.25
# Where euler's phi is as near to 90 degrees, theta and psi turn about one axis.
_LOCKED = 1e-9


def euler_to_matrix(euler: np.ndarray) -> np.ndarray:
    """Return Rx(theta) Ry(phi) Rz(-psi) [3, 3], world to OpenGL camera axes, of (theta, phi, psi) in radians.

    In float32 where they are, multiplied from the right, as the published code does it.
    """
    (a, b, c), (x, y, z) = np.cos(euler), np.sin(euler)
    turn_x = np.array([[1, 0, 0], [0, a, -x], [0, x, a]], a.dtype)
    turn_y = np.array([[b, 0, y], [0, 1, 0], [-y, 0, b]], a.dtype)
    turn_z = np.array([[c, z, 0], [-z, c, 0], [0, 0, 1]], a.dtype)
    return turn_x @ (turn_y @ turn_z)


def matrix_to_euler(matrix: np.ndarray) -> np.ndarray:
    """Return (theta, phi, psi) [3] in radians of a rotation; psi is 0 where only theta and psi together count."""
    cosine = np.hypot(matrix[0, 0], matrix[0, 1])
    phi = np.arctan2(matrix[0, 2], cosine)
    if cosine < _LOCKED:
        return np.array([np.arctan2(matrix[2, 1], matrix[1, 1]), phi, 0.0])
    return np.array([np.arctan2(-matrix[1, 2], matrix[2, 2]), phi, np.arctan2(matrix[0, 1], matrix[0, 0])])


def gaussian_talker_to_opencv(euler: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return R [3, 3] and t [3], world to camera in decimetres, of the tracker's pose."""
    return FACING @ euler_to_matrix(euler), FACING @ trans


def opencv_to_gaussian_talker(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return euler [3] and trans [3] of a camera in any unit."""
    scaled = camera.scaled(UNIT / camera.unit)
    return matrix_to_euler(FACING @ scaled.R), FACING @ scaled.t


def opencv_to_transform(camera: Camera) -> np.ndarray:
    """Return the json's matrix [4, 4] of a camera in any unit: camera to world, OpenGL axes, a tenth of the unit."""
    matrix = np.eye(4)
    matrix[:3, :3] = camera.R.T @ FACING
    matrix[:3, 3] = camera.centre / camera.unit
    return matrix


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    folder = path if path.is_dir() else path.parent
    path = path / PARAMS if path.is_dir() else path
    params = read_any(path)
    euler = values.numbers(path, params, "euler", (None, 3))
    if not (count := len(euler)):
        raise MarotteError(f"{path}: euler has no frame")
    trans = values.numbers(path, params, "trans", (count, 3))
    focal = values.number(path, params, "focal")
    table, frames = _frames(folder, count)
    crop = None
    notes: list[str] = []
    if table is not None:
        source = folder / SPLITS[0] if (folder / SPLITS[0]).is_file() else folder / SPLITS[1]
        lens, cx, cy = (values.number(source, table, key) for key in ("focal_len", "cx", "cy"))
        if abs(lens - focal) > 1e-3 * lens:
            notes.append(f"focal is {focal:g} in {PARAMS} and {lens:g} in the json: the json's counts")
        focal, size = lens, (round(2 * cx), round(2 * cy))
        crop, _ = record_to_crop(source, record_of(str(source), table))
    elif "size" in options:
        size = options["size"]
        cx, cy = size[0] / 2, size[1] / 2
        frames = [{"img_id": i} for i in range(count)]
    else:
        raise MarotteError(f"{folder} has no {SPLITS[0]}: give the size of the pictures (--size), such as 512x512")
    K = pinhole(focal, focal, cx, cy)
    ids = [frame["img_id"] for frame in frames]
    cameras = []
    for i in ids:
        R, t = gaussian_talker_to_opencv(euler[i], trans[i])
        fields: dict[str, Any] = {"R": R, "t": t, "K": K, "width": size[0], "height": size[1]}
        cameras.append(values.camera(path, f"frame {i}", **fields, space="video", unit=UNIT))
    off = [_difference(camera, frame) for camera, frame in zip(cameras, frames, strict=True)]
    if max(off) > 1e-3:
        worst = ids[int(np.argmax(off))]
        notes.append(f"the json's matrices differ from {PARAMS} (frame {worst}: by {max(off):.3g}): the .pt's count")
    pictures = tuple(f"ori_imgs/{i}.jpg" for i in ids)
    return CameraTrack(
        tuple(cameras),
        tuple(map(str, ids)),
        images=pictures if (folder / pictures[0]).is_file() else (),
        root=folder,
        crop=crop,
        fps=values.fps_option(options),
        format=NAME,
        extra={
            **{key: _rows(path, params, key, ids) for key in ("exp", "vertices") if key in params},
            **({"id": params["id"]} if "id" in params else {}),
            "aud_id": [frame.get("aud_id", frame["img_id"]) for frame in frames],
        },
        notes=tuple(notes),
    )


def _frames(folder: Path, count: int) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the first json file's table, None where there is none, and the frames of all in the order of their ids.

    Raises MarotteError where an id is none of the `count` rows of the .pt, or comes twice.
    """
    tables = [(folder / name, read_json(folder / name)) for name in SPLITS if (folder / name).is_file()]
    frames: dict[int, dict[str, Any]] = {}
    for path, table in tables:
        listed = values.entry(path, table, "frames")
        if not isinstance(listed, list):
            raise MarotteError(f"{path}: frames is a {type(listed).__name__}, expected a list")
        for place, frame in enumerate(listed):
            where = f"frames[{place}]"
            index = values.whole_number(path, frame, "img_id", 0, where)
            if index >= count or index in frames:
                reason = "comes twice" if index in frames else f"is not in {PARAMS}, which has {count} frames"
                raise MarotteError(f"{path}: {where}.img_id {index} {reason}")
            frames[index] = {**frame, "img_id": index}
            if "transform_matrix" in frame:
                frames[index]["transform_matrix"] = values.numbers(path, frame, "transform_matrix", (4, 4), where)
    if tables and not frames:
        raise MarotteError(f"{folder}: {' and '.join(path.name for path, _ in tables)} list no frame")
    return (tables[0][1] if tables else None), [frames[index] for index in sorted(frames)]


def _difference(camera: Camera, frame: Mapping[str, Any]) -> float:
    """Return the largest difference between the json's matrix and the one that belongs to the camera."""
    given = frame.get("transform_matrix")
    return 0.0 if given is None else float(np.abs(given - opencv_to_transform(camera)).max())


def _rows(path: Path, params: Mapping[str, Any], key: str, ids: list[int]) -> np.ndarray:
    """Return the rows of an array of the .pt that are used."""
    array = np.asarray(params[key])
    if array.ndim == 0 or len(array) <= max(ids):
        raise MarotteError(f"{path}: {key} has shape {list(array.shape)}, expected one row for each frame")
    return array if ids == list(range(len(array))) else array[ids]


def _write(track: CameraTrack, path: Path) -> None:
    width, height = losses.one_size(track)
    cameras, count = track.scaled(UNIT).cameras, len(track)
    focal = float(np.mean([(camera.K[0, 0], camera.K[1, 1]) for camera in cameras]))
    poses = [opencv_to_gaussian_talker(camera) for camera in cameras]
    params = {
        "id": np.zeros((1, _IDENTITY)),
        "exp": np.zeros((count, _EXPRESSION)),
        "euler": np.array([euler for euler, _ in poses]),
        "trans": np.array([trans for _, trans in poses]),
        "focal": np.array([focal]),
        "vertices": np.broadcast_to(UNIT * _box(), (count, 8, 3)),
        **({k: v for k, v in track.extra.items() if k in ("id", "exp", "vertices")} if track.format == NAME else {}),
    }
    path.mkdir(exist_ok=True)
    write_torch(path / PARAMS, {key: np.asarray(array, np.float32) for key, array in params.items()})
    sounds = track.extra.get("aud_id", range(count)) if track.format == NAME else range(count)
    frames = [
        {"img_id": i, "aud_id": sound, "transform_matrix": opencv_to_transform(camera).tolist()}
        for i, (sound, camera) in enumerate(zip(sounds, cameras, strict=True))
    ]
    known = {key: value for key, value in crop_to_record(track).items() if key == "crop"}
    lens = {"focal_len": focal, "cx": width / 2, "cy": height / 2, **({RECORD: known} if known else {})}
    train = 10 * count // 11
    for name, part in zip(SPLITS, (frames[:train], frames[train:]), strict=True):
        write_whole(path / name, json.dumps({**lens, "frames": part}, indent=1).encode())


def _box() -> np.ndarray:
    """Return the corners [8, 3] of the box, in FLAME units."""
    return _BOX * np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3, indexing="ij"), axis=-1).reshape(8, 3)


def _losses(track: CameraTrack) -> list[str]:
    """Return what is lost, and what is filled because only a track of this format has it."""
    lost = losses.principal_point(track) + losses.focal_lengths(track)
    if track.format != NAME:
        lost += [] if track.head is None else ["FLAME's parameters: its face is the Basel Face Model's"]
        lost.append(
            "BFM identity, expression and vertices: the source has none; zeros are written, and the corners of a box "
            f"of {2 * _BOX:g} m, from which training takes the head's extent"
        )
    return lost


FORMAT = Format(
    name=NAME,
    title="GaussianTalker's track_params.pt and transforms_*.json",
    recognises=lambda path: values.pickle_has(path, PARAMS, "euler", "trans", "focal"),
    read=_read,
    write=_write,
    losses=_losses,
    is_folder=True,
    unit=UNIT,
)
