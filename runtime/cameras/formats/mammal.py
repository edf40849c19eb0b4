"""MAMMAL's `new_cam.pkl`: the calibration of a rig of cameras.

A list, or a dict with numbers or text as keys, of dicts `K` [3, 3] in pixels of the full, undistorted video, `R`
[3, 3] and `T` [3], world to camera for column vectors, T in millimetres: the canonical form but for the unit. The size
of the pictures is not in the file; the published one is 1152x1024. Source: reference/cameras/SPEC.md, section 10.
"""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.models.safe_files import read_pickle
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.track import CameraTrack

NAME = "mammal"
UNIT = 1000.0
SIZE = (1152, 1024)
_PICKLE = "new_cam.pkl"


def opencv_to_mammal(camera: Camera) -> dict[str, np.ndarray]:
    """Return K, R and T (millimetres) of a camera in any unit."""
    scaled = camera.scaled(UNIT / camera.unit)
    return {"K": scaled.K.copy(), "R": scaled.R.copy(), "T": scaled.t.copy()}


def mammal_to_opencv(item: Any, size: tuple[int, int] = SIZE, path: Path = Path("camera"), where: str = "") -> Camera:
    """Return the camera, of unit 1000, of an entry. path, where: file and place, for errors.

    Raises MarotteError where a key is missing or is not what it should be.
    """
    K, R = (values.numbers(path, item, key, (3, 3), where) for key in ("K", "R"))
    T = values.entry(path, item, "T", where)
    flat = T.ravel() if isinstance(T, np.ndarray) and sorted(T.shape) == [1, 3] else T
    t = values.numbers(path, {"T": flat}, "T", (3,), where)
    return values.camera(path, where, R=R, t=t, K=K, width=size[0], height=size[1], space="video", unit=UNIT)


def distances(track: CameraTrack) -> np.ndarray:
    """Return how far each camera is from the world's origin [N], in world units."""
    return np.array([np.linalg.norm(camera.centre) for camera in track.cameras])


def normalised(track: CameraTrack, target: float = 2.7) -> CameraTrack:
    """Return the rig scaled as a whole, so that the mean distance to the origin is `target`.

    This is a change of unit and of nothing else: points have to be scaled by the same factor. Only the mean becomes
    the target, the cameras keep their proportions. Raises MarotteError where all cameras are at the origin.
    """
    mean = float(distances(track).mean())
    if mean <= 0 or target <= 0:
        raise MarotteError(f"a mean distance of {mean:g} cannot be made {target:g}: both must be above 0")
    factor = target / mean
    scaled = track.scaled(track.unit * factor)
    each = ", ".join(f"{distance:.3f}" for distance in distances(scaled))
    note = f"scaled by {factor:.6g}, points with them: mean distance {mean:.6g} is now {target:g}, single ones {each}"
    return replace(scaled, notes=(*track.notes, note))


def write_mammal(track: CameraTrack, path: Path, container: Literal["list", "int", "str"] = "list") -> None:
    """Write the cameras as a list, or as a dict with keys 0, 1, .. or "0", "1", ..: both are in use."""
    items = [opencv_to_mammal(camera) for camera in track.cameras]
    keys: list[Any] = [str(i) if container == "str" else i for i in range(len(items))]
    write_whole(path, pickle.dumps(items if container == "list" else dict(zip(keys, items, strict=True)), 4))


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    path = values.found(path, _PICKLE)
    content = read_pickle(path)
    if isinstance(content, Mapping):
        keys = list(content)
        container = "int" if all(isinstance(key, int) for key in keys) else "str"
        if all(str(key).isdecimal() for key in keys):
            keys.sort(key=int)
        items = {str(key): content[key] for key in keys}
    elif isinstance(content, list | tuple):
        container, items = "list", {str(i): item for i, item in enumerate(content)}
    else:
        raise MarotteError(f"{path} holds a {type(content).__name__}, expected a list or dict of cameras")
    if not items:
        raise MarotteError(f"{path} holds no camera")
    size = options.get("size")
    cameras = tuple(mammal_to_opencv(item, size or SIZE, path, f"[{name}]") for name, item in items.items())
    assumed = f"the file has no picture size: {SIZE[0]}x{SIZE[1]} is taken, give another with --size"
    return CameraTrack(
        cameras,
        tuple(items),
        root=path.parent,
        fps=values.fps_option(options),
        format=NAME,
        extra={"container": container},
        notes=() if size else (assumed,),
    )


def _write(track: CameraTrack, path: Path) -> None:
    write_mammal(track, path, track.extra.get("container", "list") if track.format == NAME else "list")


def _losses(track: CameraTrack) -> list[str]:
    sizes = sorted({(camera.width, camera.height) for camera in track.cameras} - {SIZE})
    listed = ", ".join(f"{width}x{height}" for width, height in sizes[:4])
    said = [f"picture size: {listed} (the file has none, readers take {SIZE[0]}x{SIZE[1]})"] if sizes else []
    return said + losses.crop_box(track)


FORMAT = Format(
    name=NAME,
    title="MAMMAL's new_cam.pkl",
    recognises=lambda path: values.pickle_has(path, _PICKLE, "K", "R", "T"),
    read=_read,
    write=_write,
    losses=_losses,
    unit=UNIT,
)
