"""FaceLift's `opencv_cameras.json`, and the cameras that it renders from.

Frames have `w`, `h`, `fx`, `fy`, `cx`, `cy` in pixels and `w2c` [4, 4], world to camera, in OpenCV axes: the canonical
form. A data set's frames name their picture by `file_path`; those that come with the inference code have
`blender_camera_name` and `blender_camera_location` in its place. FaceLift's data set takes square pictures only.
Its own world has z up and the face towards -y. Source: reference/cameras/SPEC.md, section 10.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json, write_whole
from marotte.runtime.camera import Camera, pinhole
from marotte.runtime.cameras import values
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import RECORD, crop_to_record, record_of, record_to_crop
from marotte.runtime.cameras.track import CameraTrack

NAME = "facelift"
_JSON = "opencv_cameras.json"
_OWN = ("w", "h", "fx", "fy", "cx", "cy", "w2c", "file_path")

# The cameras that come with the inference code, in the file's order, and the order in which it takes them.
INFERENCE_AZIMUTHS = (180.0, 225.0, 270.0, 315.0, 0.0, 90.0)
INFERENCE_ORDER = (2, 1, 0, 5, 4, 3)
_HFOV, _RADIUS = 50.0, 2.7

# FLAME's axes (y up, face towards z) in FaceLift's (z up, face towards -y).
FLAME_TO_FACELIFT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def opencv_to_facelift(camera: Camera) -> dict[str, Any]:
    """Return the geometry of a frame."""
    w2c = np.eye(4)
    w2c[:3, :3], w2c[:3, 3] = camera.R, camera.t
    fx, fy, (cx, cy) = camera.K[0, 0], camera.K[1, 1], camera.K[:2, 2].tolist()
    size = {"w": camera.width, "h": camera.height}
    return {**size, "fx": float(fx), "fy": float(fy), "cx": cx, "cy": cy, "w2c": w2c.tolist()}


def facelift_to_opencv(frame: Any, unit: float = 1.0, path: Path = Path("camera"), where: str = "") -> Camera:
    """Return the camera of a frame. path, where: file and place, for errors.

    Raises MarotteError where a key is missing or is not what it should be.
    """
    width, height = (values.whole_number(path, frame, key, 1, where) for key in ("w", "h"))
    fx, fy, cx, cy = (values.number(path, frame, key, where) for key in ("fx", "fy", "cx", "cy"))
    w2c = values.numbers(path, frame, "w2c", (4, 4), where)
    if not np.allclose(w2c[3], (0, 0, 0, 1), atol=1e-6):
        raise MarotteError(
            f"{path}: {where}.w2c has the last row {w2c[3].tolist()}, expected 0, 0, 0, 1: is it transposed?"
        )
    K = pinhole(fx, fy, cx, cy)
    fields: dict[str, Any] = {"R": w2c[:3, :3], "t": w2c[:3, 3], "K": K, "width": width, "height": height}
    return values.camera(path, where, **fields, space="video", unit=unit)


def turntable(
    hfov: float = _HFOV,
    num_views: int = 8,
    width: int = 384,
    height: int = 384,
    radius: float = _RADIUS,
    elevation: float = 20.0,
    *,
    flame_axes: bool = False,
) -> CameraTrack:
    """Return cameras on a circle round the origin, as published: from 270 degrees on, against the clock.

    hfov: horizontal field of view in degrees, from which comes the one focal length; radius: in world units;
    elevation: degrees above the horizon (the published videos are made with 0). flame_axes: of a world with FLAME's
    axes, y up and the face towards z, in place of FaceLift's own. Raises MarotteError for less than one view.
    """
    if num_views < 1:
        raise MarotteError(f"a turntable of {num_views} views is none: give at least 1")
    if not 0 < hfov < 180:
        raise MarotteError(f"a field of view of {hfov:g} degrees is not between 0 and 180")
    azimuths = 270.0 + 360.0 * np.arange(num_views) / num_views
    return _orbit(azimuths, hfov, (width, height), radius, elevation, flame_axes)


def inference_cameras(*, flame_axes: bool = False) -> CameraTrack:
    """Return the six cameras that come with the inference code, 512x512, in the file's order."""
    return _orbit(np.array(INFERENCE_AZIMUTHS), _HFOV, (512, 512), _RADIUS, 0.0, flame_axes)


def _orbit(
    azimuths: np.ndarray, hfov: float, size: tuple[int, int], radius: float, elevation: float, flame_axes: bool
) -> CameraTrack:
    width, height = size
    focal = width / 2 / np.tan(np.deg2rad(hfov) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    rise = np.deg2rad(elevation)
    world = FLAME_TO_FACELIFT if flame_axes else np.eye(3)
    cameras = []
    for turn in np.deg2rad(azimuths):
        place = radius * np.array([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)])
        forward = -place / np.linalg.norm(place)
        across = np.cross(forward, (0.0, 0.0, 1.0))
        right = across / np.linalg.norm(across)
        R = np.stack([right, -np.cross(right, forward), forward])
        cameras.append(Camera(R @ world, -R @ place, K, width, height, space="turntable"))
    return CameraTrack(tuple(cameras), tuple(f"{i:03d}" for i in range(len(cameras))), format=NAME)


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    path = values.found(path, _JSON)
    table = read_json(path)
    frames = values.entry(path, table, "frames")
    if not isinstance(frames, list) or not frames:
        raise MarotteError(f"{path}: frames is not a list of cameras, or is empty")
    crop, unit = record_to_crop(path, record_of(str(path), table))
    cameras = tuple(facelift_to_opencv(frame, unit, path, f"frames[{i}]") for i, frame in enumerate(frames))
    images = tuple(str(frame.get("file_path", "")) for frame in frames)
    return CameraTrack(
        cameras,
        tuple(_name(i, frame) for i, frame in enumerate(frames)),
        images=images if all(images) else (),
        root=path.parent,
        crop=crop,
        fps=values.fps_option(options),
        format=NAME,
        extra={
            "top": {key: value for key, value in table.items() if key not in ("frames", RECORD)},
            "frames": [{key: value for key, value in frame.items() if key not in _OWN} for frame in frames],
        },
    )


def _name(index: int, frame: Mapping[str, Any]) -> str:
    """Return what a frame is called: by its picture, its camera in Blender, or its number."""
    if "file_path" in frame:
        return Path(str(frame["file_path"])).stem
    return str(frame.get("blender_camera_name", f"{index:03d}"))


def _write(track: CameraTrack, path: Path) -> None:
    keep = track.extra if track.format == NAME else {}
    own = keep.get("frames", [{}] * len(track))
    frames: list[dict[str, Any]] = []
    for i, (camera, name) in enumerate(zip(track.cameras, track.names, strict=True)):
        frame = opencv_to_facelift(camera)
        if "blender_camera_name" not in own[i]:
            frame["file_path"] = track.images[i] if track.images else f"images/{name}.png"
        frames.append({**frame, **own[i], **({} if keep else {"view_id": i})})
    top = keep.get("top", {"id": track.root.name if track.root else "cameras"})
    known = crop_to_record(track)
    record = {RECORD: known} if known else {}
    write_whole(path, json.dumps({**top, "frames": frames, **record}, indent=1).encode())


FORMAT = Format(
    name=NAME,
    title="FaceLift's opencv_cameras.json",
    recognises=lambda path: values.json_has(path, _JSON, "frames", "w2c", "fx"),
    read=_read,
    write=_write,
    losses=lambda track: [],
)
