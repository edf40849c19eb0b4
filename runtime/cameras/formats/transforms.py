"""`transforms.json` of INSTA and of NeRF (Blender's synthetic scenes, instant-ngp, nerfstudio).

Both store camera-to-world matrices [4, 4]. INSTA's camera axes are OpenCV's (x right, y down, z forward), NeRF's are
OpenGL's (x right, y up, z backward): columns 1 and 2 have the other sign, and nothing in the file says so. What tells
them apart, in this order: `integer_depth_scale`, `x_fov`, or a frame's `exp_path`, `mesh_path` or `seg_mask_path` is
INSTA's; no focal length in pixels, or a key of the others (`aabb_scale`, `camera_model`, `applied_transform`, `k1`,
..., a frame's `sharpness` or `rotation`), is NeRF's; what is left is INSTA's where the world's origin, where a tracked
head is, lies in front of every camera when read so. Files with `focal_len` are GaussianTalker's.

Sources: reference/cameras/SPEC.md, section 5; the keys of NeRF files from their projects' documentation.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json, write_whole
from marotte.runtime.camera import FACING, Camera
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.formats import insta_flame
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import (
    RECORD,
    crop_to_record,
    frame_numbers,
    record_of,
    record_to_crop,
)
from marotte.runtime.cameras.formats.transforms_lens import Source, intrinsics, picture_size_of, said_size
from marotte.runtime.cameras.track import CameraTrack

INSTA, NERF = "insta", "nerf"
_INSTA_KEYS = {"integer_depth_scale", "x_fov", "y_fov"}
_INSTA_FRAME_KEYS = {"exp_path", "mesh_path", "seg_mask_path"}
_NERF_KEYS = {"aabb_scale", "camera_model", "applied_transform", "k1", "k2", "p1", "p2", "is_fisheye", "ply_file_path"}
_NERF_FRAME_KEYS = {"sharpness", "rotation", "colmap_im_id"}
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_INTRINSICS = {f"{key}_{axis}" for key in ("fl", "camera_angle") for axis in "xy"} | {"x_fov", "y_fov", "cx", "cy"}
_OWN = _INTRINSICS | {"w", "h", "frames", "file_path", "transform_matrix", RECORD}
_SPLITS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
# INSTA's published split: the last frames are for the test, or a quarter of a short video; fewer still to validate.
_TEST, _VALIDATION = 350, 20


def opencv_to_insta(camera: Camera) -> np.ndarray:
    """Return the camera-to-world matrix [4, 4] in OpenCV camera axes."""
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3], world_to_camera[:3, 3] = camera.R, camera.t
    return np.linalg.inv(world_to_camera)


def insta_to_opencv(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return R [3, 3] and t [3], world to camera, of a camera-to-world matrix [4, 4] (or [3, 4]) in OpenCV axes.

    Raises MarotteError where the matrix has no inverse or its last row is not 0 0 0 1.
    """
    if matrix.shape not in ((3, 4), (4, 4)):
        raise MarotteError(f"a camera-to-world matrix has shape [4, 4], this has {list(matrix.shape)}")
    full = np.eye(4)
    full[: len(matrix)] = matrix
    if not np.allclose(full[3], [0, 0, 0, 1], atol=1e-6):
        raise MarotteError(f"the last row is {full[3].tolist()}, expected 0 0 0 1: is it transposed?")
    if abs(np.linalg.det(full[:3, :3])) < 1e-9:
        raise MarotteError(f"the matrix has no rotation in it: {full[:3, :3].tolist()}")
    world_to_camera = np.linalg.inv(full)
    return world_to_camera[:3, :3], world_to_camera[:3, 3]


def opencv_to_nerf(camera: Camera) -> np.ndarray:
    """Return the camera-to-world matrix [4, 4] in OpenGL camera axes."""
    matrix = opencv_to_insta(camera)
    matrix[:3, :3] = matrix[:3, :3] @ FACING
    return matrix


def nerf_to_opencv(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return R [3, 3] and t [3], world to camera in OpenCV axes, of a camera-to-world matrix in OpenGL camera axes.

    Raises MarotteError as `insta_to_opencv` does.
    """
    flipped = np.array(matrix, np.float64)
    flipped[:3, :3] = flipped[:3, :3] @ FACING
    return insta_to_opencv(flipped)


def _kind(table: Mapping[str, Any]) -> str | None:
    """Return whose file this is, None for neither's."""
    frames = [frame for frame in _list(table.get("frames")) if isinstance(frame, dict)]
    known = any("transform_matrix" in frame for frame in frames) or {*_INSTA_KEYS, "camera_angle_x"} & table.keys()
    if "focal_len" in table or not known:
        return None
    marks = _marks(table, frames)
    if marks & (_INSTA_KEYS | _INSTA_FRAME_KEYS):
        return INSTA
    if "fl_x" not in table or marks:
        return NERF
    return INSTA if _looks_at_origin(table) else NERF


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _marks(table: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the keys of a file that only INSTA, or only NeRF's projects, write."""
    first = frames[0].keys() if frames else set()
    record = table.get(RECORD)
    ours = {"axes"} & set(record) if isinstance(record, dict) else set()
    return ((_INSTA_KEYS | _NERF_KEYS) & table.keys()) | ((_INSTA_FRAME_KEYS | _NERF_FRAME_KEYS) & first) | ours


def _looks_at_origin(table: Mapping[str, Any]) -> bool:
    """Tell whether the world's origin is in front of every camera when they are read as INSTA's."""
    try:
        matrices = [values.numbers(Path(), frame, "transform_matrix", (None, 4)) for frame in _list(table["frames"])]
        return bool(matrices) and all(insta_to_opencv(matrix)[1][2] > 0 for matrix in matrices)
    except (MarotteError, KeyError):
        return False


def _files(path: Path) -> list[Path]:
    """Return the files to read: the file, or of a folder its main file, else its parts."""
    if not path.is_dir():
        return [path]
    main = path / "transforms.json"
    return [main] if main.is_file() else [path / name for name in _SPLITS if (path / name).is_file()]


def _recognises(path: Path, name: str) -> bool:
    try:
        files = [file for file in _files(path) if file.suffix == ".json"]
        return bool(files) and _kind(read_json(files[0])) == name
    except MarotteError:
        return False


def _sources(path: Path) -> list[Source]:
    """Return the files with their frames; a frame that a file before had is left out."""
    sources: list[Source] = []
    seen = set()
    for file in _files(path):
        table = read_json(file)
        frames = table.get("frames")
        if not isinstance(frames, list) or not frames:
            raise MarotteError(f"{file} has no list of 'frames': it holds no cameras")
        kept = []
        for index, frame in enumerate(frames):
            if not isinstance(frame, dict):
                raise MarotteError(f"{file}: frames[{index}] is a {type(frame).__name__}, expected names and values")
            name = frame.get("file_path", f"{index:05d}")
            if not isinstance(name, str):
                raise MarotteError(f"{file}: frames[{index}].file_path is {name!r}: expected the picture's name")
            if sources and name in seen:
                continue
            seen.add(name)
            kept.append((index, frame))
        sources.append(Source(file, table, kept))
    if not sources:
        raise MarotteError(f"{path} has no transforms.json and none of {', '.join(_SPLITS)}")
    return sources


def _read(path: Path, options: Mapping[str, Any], name: str) -> CameraTrack:
    to_opencv = insta_to_opencv if name == INSTA else nerf_to_opencv
    sources = _sources(path)
    root = sources[0].path.parent
    crop, unit = record_to_crop(sources[0].path, record_of(sources[0].path, sources[0].table))
    cameras, images, notes = [], [], _notes(sources[0], name)
    for source in sources:
        size = options.get("size") or picture_size_of(source)
        for index, frame in source.frames:
            where = f"frames[{index}]"
            matrix = values.numbers(source.path, frame, "transform_matrix", (None, 4), where)
            K, width, height = intrinsics(source, where, frame, size)
            space = f"tracked:{width}" if name == INSTA and width == height else "picture"
            try:
                cameras.append(Camera(*to_opencv(matrix), K, width, height, space, unit))
            except MarotteError as error:
                raise MarotteError(f"{source.path}: {where}.transform_matrix: {error}") from None
            images.append(frame.get("file_path", ""))
        said = said_size(source.table)
        if said and size and said != size:
            notes.append(
                f"{source.path.name} says {said[0]}x{said[1]}, the pictures are {size[0]}x{size[1]}: angles count, "
                "focal lengths in pixels are taken as they are"
            )
    frames = [frame for source in sources for _, frame in source.frames]
    head, lacking = insta_flame.read_head(root, frames) if name == INSTA else (None, "")
    return CameraTrack(
        tuple(cameras),
        names=tuple(Path(image).stem or f"{i:05d}" for i, image in enumerate(images)),
        images=tuple(images) if all(images) else (),
        root=root,
        crop=crop,
        head=head,
        fps=values.fps_option(options),
        format=name,
        extra={
            "top": {k: v for k, v in sources[0].table.items() if k not in _OWN},
            "frames": [{k: v for k, v in frame.items() if k not in _OWN} for frame in frames],
        },
        notes=tuple(notes) + ((lacking,) if lacking else ()),
    )


def _notes(source: Source, name: str) -> list[str]:
    notes, table = [], source.table
    if "fl_x" in table and not _marks(table, [frame for _, frame in source.frames]):
        other = "OpenCV (INSTA)" if name == NERF else "OpenGL (NeRF)"
        notes.append(
            f"{source.path.name} does not say whose axes it is in: taken as {name}'s; if the picture is upside down or "
            f"empty, it was {other}"
        )
    if any(table.get(key) not in (None, 0) for key in _DISTORTION):
        notes.append(f"{source.path.name} has lens distortion ({', '.join(_DISTORTION)}): it is not applied")
    return notes


def _top(track: CameraTrack, sizes_as: type, **record: Any) -> dict[str, Any]:
    """Return the intrinsics of the first camera in all their redundant forms, and our own record."""
    camera = track.cameras[0]
    (fx, _, cx), (_, fy, cy) = camera.K[:2].tolist()
    angles = [float(2 * np.arctan(n / (2 * f))) for n, f in ((camera.width, fx), (camera.height, fy))]
    top = {
        "w": sizes_as(camera.width),
        "h": sizes_as(camera.height),
        "fl_x": fx,
        "fl_y": fy,
        "cx": cx,
        "cy": cy,
        "camera_angle_x": angles[0],
        "camera_angle_y": angles[1],
    }
    record = {**crop_to_record(track), **record}
    return {**top, RECORD: record} if record else top


def _image(track: CameraTrack, index: int) -> str:
    """Return the picture's path: as the track has it, else by the frame's number."""
    return track.images[index] if track.images else f"images/{frame_numbers(track)[index]:05d}.png"


def _place(path: Path) -> Path:
    """Return the main file: a path without `.json` is a folder."""
    if path.suffix == ".json":
        return path
    path.mkdir(exist_ok=True)
    return path / "transforms.json"


def _dump(path: Path, table: Mapping[str, Any], **style: Any) -> None:
    write_whole(path, (json.dumps(table, indent=4, **style) + "\n").encode())


def _write_insta(track: CameraTrack, path: Path) -> None:
    losses.one_size(track)
    main = _place(path)
    top = _top(track, float)
    top |= {"x_fov": float(np.degrees(top["camera_angle_x"])), "y_fov": float(np.degrees(top["camera_angle_y"]))}
    top = {"integer_depth_scale": 0.001, **(track.extra.get("top", {}) if track.format == INSTA else {}), **top}
    frames = []
    for index, (camera, n) in enumerate(zip(track.cameras, frame_numbers(track), strict=True)):
        frame = {
            "depth_path": f"depth/{n:05d}.png",
            "exp_path": f"flame/exp/{n:05d}.txt",
            "mesh_path": f"meshes/{n:05d}.obj",
            "seg_mask_path": f"seg_mask/{n:05d}.png",
        }
        frame |= track.extra["frames"][index] if track.format == INSTA and track.extra else {}
        frames.append(
            {**frame, "file_path": _image(track, index), "transform_matrix": opencv_to_insta(camera).tolist()}
        )
    _dump(main, {**top, "frames": frames}, sort_keys=True)
    if main.name == "transforms.json":
        test = min(_TEST, len(frames) // 4)
        parts = (frames[: len(frames) - test], frames[-_VALIDATION:], frames[len(frames) - test :])
        for name, part in zip(_SPLITS, parts, strict=True):
            if part:
                _dump(main.with_name(name), {**top, "frames": part}, sort_keys=True)
    if track.head is not None:
        insta_flame.write_head(track.head, main.parent, frames)


def _write_nerf(track: CameraTrack, path: Path) -> None:
    keep = track.extra if track.format == NERF else {}
    first = track.cameras[0]
    frames = []
    for index, camera in enumerate(track.cameras):
        frame = {**(keep["frames"][index] if keep else {}), "file_path": _image(track, index)}
        if (camera.width, camera.height) != (first.width, first.height) or (camera.K != first.K).any():
            (fx, _, cx), (_, fy, cy) = camera.K[:2].tolist()
            frame |= {"w": camera.width, "h": camera.height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
            frame["camera_angle_x"] = float(2 * np.arctan(camera.width / (2 * fx)))
        frames.append({**frame, "transform_matrix": opencv_to_nerf(camera).tolist()})
    _dump(_place(path), {**keep.get("top", {}), **_top(track, int, axes="OpenGL"), "frames": frames})


def _insta_losses(track: CameraTrack) -> list[str]:
    return losses.own_lenses(track, 0) + insta_flame.losses(track)


def _nerf_losses(track: CameraTrack) -> list[str]:
    lost = [
        f"{line} (cx and cy are written, but readers of camera_angle_x alone leave them out)"
        for line in losses.principal_point(track)
    ]
    skew = max(abs(camera.K[1, 1] / camera.K[0, 0] - 1) for camera in track.cameras)
    if skew > 1e-9:
        lost.append(f"fy: up to {100 * skew:.3g}% from fx (fl_y is written, but the same readers leave it out)")
    return lost


FORMATS = (
    Format(
        name=INSTA,
        title="INSTA transforms.json",
        recognises=lambda path: _recognises(path, INSTA),
        read=lambda path, options: _read(path, options, INSTA),
        write=_write_insta,
        losses=_insta_losses,
        unit=1.0,
    ),
    Format(
        name=NERF,
        title="NeRF or Blender transforms.json",
        recognises=lambda path: _recognises(path, NERF),
        read=lambda path, options: _read(path, options, NERF),
        write=_write_nerf,
        losses=_nerf_losses,
    ),
)
