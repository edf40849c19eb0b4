"""IMavatar's `flame_params.json`, which SplattingAvatar reads too, as a camera format.

The cameras are `marotte.runtime.imavatar`'s. The format has 50 expression and 100 shape coefficients and no eyelids;
what a head has beyond that is kept under our own key, which published readers ignore, and a warning says so.
Source: reference/cameras/SPEC.md, section 6.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.plain_files import read_json, write_whole
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import (
    RECORD,
    crop_to_record,
    frame_number,
    picture_size,
    record_of,
    record_to_crop,
)
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.head import HeadState
from marotte.runtime.imavatar import UNIT, ImavatarTrack, opencv_to_imavatar, read_imavatar

_FILE = "flame_params.json"
_EXPRESSION, _SHAPE = 50, 100
# What pictures of this format are resized to, where nobody says their size.
_SIZE = (512, 512)
# At this size are intrinsics that are not in parts of it.
_PIXELS = 512
_OWN = {"intrinsics", "shape_params", "frames", RECORD}
_OWN_OF_FRAMES = {"file_path", "world_mat", "expression", "pose"}


def _recognises(path: Path) -> bool:
    return values.json_has(path, _FILE, "world_mat", "intrinsics")


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    path = values.found(path, _FILE)
    table = read_json(path)
    record = record_of(path, table)
    crop, _ = record_to_crop(path, {"crop": record["crop"]} if "crop" in record else {})
    notes = []
    size = options.get("size")
    picture = None if size else _first_picture(path, table)
    if size is None and picture is None:
        size = _SIZE
        if "size" in record:
            size = values.numbers(path, record, "size", (2,), RECORD).astype(int).tolist()
        else:
            notes.append(
                f"the pictures are not there and their size is not given (--size): taken as {size[0]}x{size[1]}"
            )
    elif picture is not None and not picture_size(picture):
        raise MarotteError(f"{picture} cannot be read, so the pictures' size is unknown: give it (--size)")
    given = read_imavatar(path, size and (size[0], size[1]))
    in_pixels = _in_pixels(table)
    if in_pixels:
        notes.append("intrinsics are pixels at 512, as IMavatar reads them; SplattingAvatar does not: write them again")
    frames = table["frames"]
    return CameraTrack(
        tuple(_seen(camera, in_pixels) for camera in given.cameras),
        names=tuple(frame["file_path"].removeprefix("./") for frame in frames),
        images=tuple(_relative(image, path.parent) for image in given.images),
        root=path.parent,
        crop=crop,
        head=_head(path, given, record),
        fps=values.fps_option(options),
        format="imavatar",
        extra={
            # Boxes and keypoints are in parts of the picture, so they hold for these intrinsics alone.
            "intrinsics": np.ravel(table["intrinsics"]).tolist(),
            "top": {key: value for key, value in table.items() if key not in _OWN},
            "frames": [{k: v for k, v in frame.items() if k not in _OWN_OF_FRAMES} for frame in frames],
        },
        notes=tuple(notes),
    )


def _in_pixels(table: Mapping[str, Any]) -> bool:
    """Tell whether the intrinsics are pixels at 512, by IMavatar's own rule: the last is above 1."""
    return float(np.ravel(table["intrinsics"])[3]) > 1


def _seen(camera: Camera, in_pixels: bool) -> Camera:
    """Return the camera that `read_imavatar` made, with intrinsics in pixels undone."""
    K = np.diag([1 / _PIXELS, 1 / _PIXELS, 1]) @ camera.K if in_pixels else camera.K
    return replace(camera, K=K, space="picture")


def _relative(image: Path, folder: Path) -> str:
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else image.as_posix()


def _first_picture(path: Path, table: Mapping[str, Any]) -> Path | None:
    """Return the first picture where it is there."""
    frames = table.get("frames")
    name = frames[0].get("file_path") if isinstance(frames, list) and frames and isinstance(frames[0], dict) else None
    if not isinstance(name, str) or "\0" in name:
        return None
    places = (name.replace("/image/", "/images/"), name.replace("/images/", "/image/"))
    return next((p for place in places if (p := path.parent / f"{place}.png").is_file()), None)


def _head(path: Path, given: ImavatarTrack, record: Mapping[str, Any]) -> HeadState:
    """Return the head, with what our own record holds of it beyond the format."""
    count = len(given)
    pose = given.full_pose
    more = record.get("flame", {})
    where = f"{RECORD}.flame"

    def kept(name: str, width: int | None) -> np.ndarray:
        if name not in more:
            return np.zeros((count, width or 0), np.float32)
        return values.numbers(path, more, name, (count, width), where).astype(np.float32)

    tail = values.numbers(path, more, "shape", (None,), where) if "shape" in more else np.zeros(0)
    return HeadState(
        shape=np.concatenate([given.shape, tail.astype(np.float32)]),
        expression=np.concatenate([given.expression, kept("expression", None)], axis=1),
        root=pose[:, :3],
        neck=pose[:, 3:6],
        jaw=pose[:, 6:9],
        eyes=pose[:, 9:],
        eyelids=kept("eyelids", 2),
        translation=np.zeros((count, 3), np.float32),
    )


def _beyond(head: HeadState | None) -> dict[str, np.ndarray]:
    """Return what of a head the format has no place for and is not zero."""
    if head is None:
        return {}
    parts = {
        "expression": head.expression[:, _EXPRESSION:],
        "shape": head.shape[_SHAPE:],
        "eyelids": head.eyelids,
    }
    return {name: array for name, array in parts.items() if np.abs(array).max(initial=0) > 0}


def _camera(track: CameraTrack, index: int) -> Camera:
    """Return a camera of the head as the format has it: FLAME's translation moves the camera instead."""
    camera = track.cameras[index]
    if track.head is None:
        return camera
    shift = np.asarray(track.head.translation[index], np.float64) * track.unit
    return replace(camera, t=camera.t + camera.R @ shift)


def _write(track: CameraTrack, path: Path) -> None:
    size = losses.one_size(track)
    count, head = len(track), track.head
    pose = np.zeros((count, 15)) if head is None else head.full_pose
    expression = np.zeros((count, _EXPRESSION))
    shape = np.zeros(_SHAPE)
    if head is not None:
        expression[:, : head.expression.shape[1]] = head.expression[:, :_EXPRESSION]
        shape[: len(head.shape)] = head.shape[:_SHAPE]
    frames = []
    intrinsics = opencv_to_imavatar(track.cameras[0])[1]
    keep = track.extra if track.format == "imavatar" else {}
    same = bool(keep) and np.allclose(np.abs(intrinsics), np.abs(keep["intrinsics"]), atol=1e-6)
    for index in range(count):
        world_mat, _ = opencv_to_imavatar(_camera(track, index))
        frames.append(
            {
                **(keep["frames"][index] if same else {}),
                "file_path": _name(track, index),
                "world_mat": world_mat.tolist(),
                "expression": expression[index].tolist(),
                "pose": pose[index].tolist(),
            }
        )
    beyond = _beyond(head)
    record = {**crop_to_record(track.scaled(1.0)), "size": list(size)}
    if beyond:
        record["flame"] = {name: array.tolist() for name, array in beyond.items()}
        listed = ", ".join(f"{name} (up to {np.abs(array).max():.3g})" for name, array in beyond.items())
        warnings.warn(
            f"{path.name}: IMavatar and SplattingAvatar read 50 expression and 100 shape coefficients and no eyelids; "
            f"what is beyond is kept under {RECORD!r}, which they do not read: {listed}",
            MarotteWarning,
            stacklevel=2,
        )
    top = keep.get("top", {})
    table = {**top, "intrinsics": intrinsics.tolist(), "shape_params": shape.tolist(), RECORD: record, "frames": frames}
    if path.suffix != ".json":
        path.mkdir(exist_ok=True)
        path = path / _FILE
    write_whole(path, json.dumps(table).encode())


def _name(track: CameraTrack, index: int) -> str:
    """Return a frame's name as the format has it: `./image/7`, which readers add `.png` to."""
    if track.format == "imavatar":
        return f"./{track.names[index]}"
    return f"./image/{frame_number(track.names[index], index)}"


def _losses(track: CameraTrack) -> list[str]:
    first = track.cameras[0]
    lost = losses.own_lenses(track, losses.TINY)
    least = min(float(camera.K[:2, 2].min()) for camera in track.cameras)
    if least < 0:
        lost.append(f"the sign of the principal point: {least:.4g} px, left of or above the picture")
    if first.width != first.height:
        lost.append(
            f"the picture's shape: {first.width}x{first.height}, of which IMavatar's readers know one size "
            "(SplattingAvatar's reads pictures that are not square)"
        )
    return lost


FORMAT = Format(
    name="imavatar",
    title="IMavatar's and SplattingAvatar's flame_params.json",
    recognises=_recognises,
    read=_read,
    write=_write,
    losses=_losses,
    unit=UNIT,
)
