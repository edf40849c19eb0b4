"""GAGAvatar's `tracked.pt`, and the camera that ARTalk makes from head motion.

A dict of picture names to entries: `transform_matrix` [3, 4] is PyTorch3D's [R | T] for row vectors, of FLAME times 5;
`shapecode` [300], `expcode` [100], `posecode` [6] (global, jaw) and `eyecode` [6], rotation vectors in radians; `bbox`
[4], x0, y0, x1, y1 as parts of the crop; `image` [3, 512, 512], 0 to 1. The lens is implied: 12 in NDC, which is 3072
pixels of the 512, centred. Where the crop was in the video is not stored. Sources: reference/cameras/SPEC.md, section
9; reference/gagavatar/SPEC.md, sections 2 and 11.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix
from marotte.models.safe_files import read_any
from marotte.models.torch_writer import write_torch
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.face_codes import BASIS, head_state
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.record import picture_size
from marotte.runtime.cameras.track import CameraTrack

NAME = "gagavatar"
UNIT = 5.0
SIZE = 512
FOCAL_NDC = 12.0
FOCAL = FOCAL_NDC * SIZE / 2
SPACE = f"gagavatar:{SIZE}"
_FILE = "tracked.pt"
_CODES = {"shapecode": 300, "expcode": 100, "posecode": 6, "eyecode": 6}
# From OpenCV's view axes to PyTorch3D's and back, and its default camera, which looks along the world's -z.
_TURN = np.diag([-1.0, -1.0, 1.0])
_FACING_P3D = np.diag([-1.0, 1.0, -1.0])
# The tracker starts as EMOCA saw the head: this is at once its lens in NDC and its distance.
_START_NDC = 5000 / SIZE
# The lens that the start is made for; for another the whole translation is scaled.
_TRACKER_NDC = 13.0


def gagavatar_to_opencv(matrix: np.ndarray) -> Camera:
    """Return the camera, of unit 5 and for pictures of 512x512, of a transform_matrix [3, 4].

    Raises MarotteError where it has no rotation in it.
    """
    matrix = np.asarray(matrix, np.float64)
    K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    return Camera(_TURN @ matrix[:, :3].T, _TURN @ matrix[:, 3], K, SIZE, SIZE, space=SPACE, unit=UNIT)


def opencv_to_gagavatar(camera: Camera) -> np.ndarray:
    """Return the transform_matrix [3, 4], float32, of a camera in any unit; its K is lost."""
    scaled = camera.scaled(UNIT / camera.unit)
    return np.concatenate([(_TURN @ scaled.R).T, (_TURN @ scaled.t)[:, None]], axis=1).astype(np.float32)


def head_motion_to_gagavatar(
    rotvec: np.ndarray, translation: np.ndarray | tuple[float, float, float] = (0.0, 0.0, _START_NDC)
) -> np.ndarray:
    """Return transform_matrix [..., 3, 4] of head rotations [..., 3]: ARTalk's camera of each frame.

    Rotation vectors in radians, as in FLAME's global pose; the head then stands still. translation: [3] of the view,
    unit 5; the renderer keeps the one of the identity's entry, the default is where EMOCA's start puts it.
    """
    turn = rotvec_to_matrix(np.asarray(rotvec, np.float64) * (-1.0, 1.0, -1.0))
    rotation = np.swapaxes(turn @ _FACING_P3D, -1, -2)
    shift = np.broadcast_to(np.asarray(translation, np.float64), rotation.shape[:-1])
    return np.concatenate([rotation, shift[..., None]], axis=-1)


def fitted_head_to_gagavatar(rotvec: np.ndarray, points: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return transform_matrix [3, 4] with which the tracker starts: the head shifted to where its landmarks are.

    rotvec: [3] head rotation; points: [L, 3] landmarks of the unturned head, unit 5; pixels: [L, 2] of the 512x512
    crop. The shift and the distance are then scaled from the tracker's lens to 12.
    """
    matrix = head_motion_to_gagavatar(rotvec)
    seen = points @ matrix[:, :3] + matrix[:, 3]
    projected = SIZE / 2 * (1 - _START_NDC * seen[:, :2] / seen[:, 2:])
    matrix[:2, 3] = (projected.mean(axis=0) - pixels.mean(axis=0)) * 2 / SIZE
    matrix[:, 3] *= FOCAL_NDC / _TRACKER_NDC
    return matrix


def mesh_camera(scale: float = UNIT) -> Camera:
    """Return the camera of ARTalk's mesh renderer: two units in front of a face that looks along z."""
    matrix = np.concatenate([_FACING_P3D, [[0], [0], [2 * UNIT]]], axis=1)
    return gagavatar_to_opencv(matrix).scaled(scale / UNIT)


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    path = values.found(path, _FILE)
    content = read_any(path)
    if not isinstance(content, Mapping) or not content:
        raise MarotteError(f"{path} holds {'nothing' if content == {} else type(content).__name__}, expected entries")
    cameras, codes, boxes, pictures = [], [], [], []
    for name, item in content.items():
        where = str(name)
        matrix = values.numbers(path, item, "transform_matrix", (3, 4), where)
        try:
            cameras.append(gagavatar_to_opencv(matrix))
        except MarotteError as error:
            raise MarotteError(f"{path}: {where}.transform_matrix: {error}") from None
        codes.append({key: values.numbers(path, item, key, (width,), where) for key, width in _CODES.items()})
        boxes.append(values.numbers(path, item, "bbox", (4,), where) if "bbox" in item else np.array([0, 0, 1, 1]))
        pictures.append(item.get("image"))
    stacked = {key: np.array([code[key] for code in codes], np.float32) for key in _CODES}
    spread = float(np.ptp(stacked["shapecode"], axis=0).max())
    notes = (f"shapecode differs between entries by up to {spread:.3g}: the head has the mean",) if spread else ()
    head = head_state(
        len(cameras),
        shape=stacked["shapecode"].mean(axis=0),
        expression=stacked["expcode"],
        root=stacked["posecode"][:, :3],
        jaw=stacked["posecode"][:, 3:],
        eyes=stacked["eyecode"],
    )
    return CameraTrack(
        tuple(cameras),
        tuple(map(str, content)),
        root=path.parent,
        head=head,
        basis=BASIS,
        fps=values.fps_option(options),
        format=NAME,
        extra={"bbox": np.array(boxes, np.float32), "image": pictures, "shapecode": stacked["shapecode"]},
        notes=notes,
    )


def _write(track: CameraTrack, path: Path) -> None:
    names = [_entry_name(track, i) for i in range(len(track))]
    if len(set(names)) < len(names):
        raise MarotteError(f"two frames are called {next(n for n in names if names.count(n) > 1)}: name them apart")
    own = track.extra if track.format == NAME else {}
    codes = _codes(track)
    content = {}
    for i, (name, camera) in enumerate(zip(names, track.cameras, strict=True)):
        content[name] = {
            "bbox": own["bbox"][i] if "bbox" in own else np.array([0, 0, 1, 1], np.float32),
            **{key: rows[i] for key, rows in codes.items()},
            "transform_matrix": opencv_to_gagavatar(camera),
            "image": partial(_picture, track, i),
        }
    write_torch(path, content)


def _codes(track: CameraTrack) -> dict[str, np.ndarray]:
    """Return the FLAME codes [N, n] of the entries, zero where the track has none."""
    count, head = len(track), track.head
    codes = {key: np.zeros((count, width), np.float32) for key, width in _CODES.items()}
    if head is not None:
        shape = np.broadcast_to(head.shape, (count, len(head.shape)))
        if track.format == NAME and "shapecode" in track.extra:
            shape = track.extra["shapecode"]
        given = {"shapecode": shape, "expcode": head.expression, "eyecode": head.eyes}
        given["posecode"] = np.concatenate([head.root, head.jaw], axis=1)
        for key, rows in given.items():
            codes[key][:, : rows.shape[1]] = rows[:, : _CODES[key]]
    return codes


def _entry_name(track: CameraTrack, index: int) -> str:
    """Return what an entry is called: as its picture, if one is named."""
    name = Path(track.images[index] if track.images else track.names[index]).name
    return name if Path(name).suffix else f"{name}.jpg"


def _picture(track: CameraTrack, index: int) -> np.ndarray:
    """Return what an entry shows [3, 512, 512]: as it was read, else the picture file, else black."""
    kept = track.extra.get("image") if track.format == NAME and track.cameras[index].space == SPACE else None
    if kept is not None and kept[index] is not None:
        return np.asarray(kept[index], np.float32)
    picture = _picture_file(track, index)
    if picture is None:
        return np.broadcast_to(np.float32(0), (3, SIZE, SIZE))
    from PIL import Image

    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)
    return np.moveaxis(pixels, -1, 0) / np.float32(255)


def _picture_file(track: CameraTrack, index: int) -> Path | None:
    """Return the picture of a frame if it is there and of the format's size."""

    if track.root is None or not track.images:
        return None
    path = track.root / track.images[index]
    return path if picture_size(path) == (SIZE, SIZE) else None


def _losses(track: CameraTrack) -> list[str]:
    """Return what is lost, and what is filled because the track does not have it."""
    lost = losses.principal_point(track) + losses.focal_lengths(track, FOCAL)
    lost += losses.picture_size(track, (SIZE, SIZE)) + losses.crop_box(track)
    if track.head is None:
        lost.append("FLAME's codes: the track has none, zeros are written")
    else:
        for name, most_kept in (("shape", _CODES["shapecode"]), ("expression", _CODES["expcode"])):
            beyond = getattr(track.head, name)[..., most_kept:]
            if beyond.any():
                lost.append(f"FLAME's {name}: coefficients beyond {most_kept}, up to {np.abs(beyond).max():.3g}")
        for name, what in (("neck", "neck rotation"), ("eyelids", "eyelids"), ("translation", "head translation")):
            most = float(np.abs(getattr(track.head, name)).max(initial=0))
            if most > 1e-6:
                lost.append(f"FLAME's {what}: up to {most:.3g}")
    if track.format != NAME and any(_picture_file(track, i) is None for i in range(len(track))):
        lost.append(f"pictures: none of {SIZE}x{SIZE} for some frames, which get black ones")
    return lost


FORMAT = Format(
    name=NAME,
    title="GAGAvatar's tracked.pt",
    recognises=lambda path: values.pickle_has(path, _FILE, "transform_matrix", "expcode"),
    read=_read,
    write=_write,
    losses=_losses,
    unit=UNIT,
)
