"""metrical-tracker's folder of `.frame` files, one a frame, with `bbox.pt` beside it or where the tracker leaves it.

A file holds the camera twice: `opencv` (R, t, K of the tracked picture, in OpenCV axes), which is what is read, and
`camera` (PyTorch3D's axes: 6D rotation, t, focal length and principal point in NDC). FLAME parameters are under
`flame`; the head's motion is in the camera. Source: reference/cameras/SPEC.md, section 4.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.models.rotations import matrix_to_sixd, sixd_to_matrix
from marotte.models.safe_files import read_torch
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import losses, values
from marotte.runtime.cameras.crop_chain import box_alone, read_bbox, tracker_crop, whole_picture
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.formats.insta_flame import losses as head_losses
from marotte.runtime.cameras.formats.insta_flame import rotvec_to_sixd, sixd_to_rotvec
from marotte.runtime.cameras.formats.pytorch3d import opencv_to_pytorch3d, pytorch3d_to_opencv
from marotte.runtime.cameras.formats.record import frame_number, frame_numbers, picture_size
from marotte.runtime.cameras.track import CameraTrack, Crop
from marotte.runtime.head import HeadState

_BBOX = "bbox.pt"
# Agreement of the two blocks, which are float32 of one camera: in rotation and translation, and in pixels.
_SAME, _SAME_PIXELS = 1e-4, 1e-2
_FLAME = {"exp": None, "shape": None, "eyes": 12, "eyelids": 2, "jaw": 6}
_OPENCV = {"R": (3, 3), "t": (3,), "K": (3, 3)}


@dataclass(frozen=True, eq=False)
class _Frame:
    """One file: the camera, the FLAME parameters [n] by the tracker's names, and what only the tracker needs."""

    name: str
    camera: Camera
    flame: dict[str, np.ndarray]
    rest: dict[str, Any]
    differs: str


def opencv_to_metrical(camera: Camera) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the blocks `camera` and `opencv` of a camera with unit 1, float32, with a leading 1.

    The block `camera` has one focal length: the mean where the two differ.
    """
    R, T, focal, centre = opencv_to_pytorch3d(camera)
    blocks = (
        {"R": matrix_to_sixd(R), "t": T, "fl": focal.mean(keepdims=True), "pp": centre},
        {"R": camera.R, "t": camera.t, "K": camera.K},
    )
    first, second = ({name: np.asarray(value, np.float32)[None] for name, value in block.items()} for block in blocks)
    return first, second


def metrical_to_opencv(block: Mapping[str, Any], width: int, height: int, path: Path = Path("camera")) -> Camera:
    """Return the camera that the block `camera` describes, for a picture of width x height.

    Raises MarotteError, naming `path`, where something is missing or wrong.
    """
    R, T = sixd_to_matrix(_part(path, block, "camera", "R", 6)), _part(path, block, "camera", "t", 3)
    focal, centre = _part(path, block, "camera", "fl", 1), _part(path, block, "camera", "pp", 2)
    try:
        return pytorch3d_to_opencv(R, T, np.repeat(focal, 2), centre, width, height)
    except MarotteError as error:
        raise MarotteError(f"{path}: camera: {error}") from None


def _part(path: Path, block: Any, name: str, key: str, *shape: int | None) -> np.ndarray:
    """Return one entry of a block without its leading 1."""
    return values.numbers(path, block, key, (1, *shape), name)[0]


def frame_files(path: Path) -> list[Path]:
    """Return the `.frame` files of a folder or of its `checkpoint`, by number; a file is one frame."""
    if path.is_file():
        return [path] if path.suffix == ".frame" else []
    found = list(path.glob("*.frame")) or list(path.glob("checkpoint/*.frame"))
    return sorted(found, key=lambda file: (frame_number(file.name, -1), file.name))


def find_bbox(path: Path) -> Path | None:
    """Return the `bbox.pt` of a folder of frames: in it, beside it, or in the actor's `input` folder."""
    folder = path.parent if path.is_file() else path
    actor = folder.parent if folder.name == "checkpoint" else folder
    inputs = actor.parent.parent / "input" / actor.name
    places = (folder, actor, actor / "input", folder.parent, inputs)
    return next((place / _BBOX for place in places if (place / _BBOX).is_file()), None)


def read_frame(path: Path) -> _Frame:
    """Return what one `.frame` file holds. Raises MarotteError naming file and key."""
    table = read_torch(path)
    height, width = (int(n) for n in values.numbers(path, table, "img_size", (2,)))
    block = values.entry(path, table, "opencv")
    R, t, K = (_part(path, block, "opencv", name, *shape) for name, shape in _OPENCV.items())
    space = f"tracked:{width}" if width == height else f"tracked:{width}x{height}"
    camera = values.camera(path, "opencv", R=R, t=t, K=K, width=width, height=height, space=space)
    flame = values.entry(path, table, "flame")
    given = {name: _part(path, flame, "flame", name, count) for name, count in _FLAME.items()}
    name = table.get("frame_id")
    return _Frame(
        name=name if isinstance(name, str) and name else path.stem,
        camera=camera,
        flame=given,
        rest={
            "flame": {name: value for name, value in flame.items() if name not in _FLAME},
            "global_step": table.get("global_step", 0),
        },
        differs=_difference(path, camera, table.get("camera")),
    )


def _difference(path: Path, camera: Camera, block: Any) -> str:
    """Return how the block `camera` differs from the other, empty where it does not."""
    if block is None:
        return f"{path} lacks the block camera"
    other = metrical_to_opencv(block, camera.width, camera.height, path)
    for name in ("R", "t", "K"):
        off = float(np.abs(getattr(other, name) - getattr(camera, name)).max())
        if off > (_SAME_PIXELS * max(1, camera.K[0, 0] / 1000) if name == "K" else _SAME):
            return f"{path}: opencv.{name} and the block camera differ by {off:.3g}: one of them was edited"
    return ""


def _recognises(path: Path) -> bool:
    try:
        files = frame_files(path)
        if not files:
            return False
        with files[0].open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02")
    except OSError:
        return False


def _read(path: Path, options: Mapping[str, Any]) -> CameraTrack:
    files = frame_files(path)
    if not files:
        raise MarotteError(f"{path} has no .frame files, nor has its folder checkpoint: name the tracker's output")
    frames = [read_frame(file) for file in files]
    first = frames[0].camera
    for file, frame in zip(files, frames, strict=True):
        if (frame.camera.width, frame.camera.height) != (first.width, first.height):
            raise MarotteError(
                f"{file}: img_size is {frame.camera.width}x{frame.camera.height}, the first frame's is "
                f"{first.width}x{first.height}: one folder holds frames of one size"
            )
        for name, given in frame.flame.items():
            if given.shape != frames[0].flame[name].shape:
                raise MarotteError(
                    f"{file}: flame.{name} has {len(given)} numbers, the first frame {len(frames[0].flame[name])}"
                )
    notes = [frame.differs for frame in frames if frame.differs][:3]
    crop, more = _crop(path, options, first)
    flame = {name: np.array([frame.flame[name] for frame in frames]) for name in _FLAME}
    return CameraTrack(
        tuple(frame.camera for frame in frames),
        names=tuple(frame.name for frame in frames),
        root=path if path.is_dir() else path.parent,
        crop=crop,
        head=_head(flame),
        fps=values.fps_option(options),
        format="metrical",
        extra={"frames": [frame.rest for frame in frames]},
        notes=tuple(notes + more),
    )


def _head(flame: Mapping[str, np.ndarray]) -> HeadState:
    """Return the head. The first of the two eyes is FLAME's joint 3, as in HeadState, whatever it is called."""
    count = len(flame["exp"])
    still = np.zeros((count, 3), np.float32)
    return HeadState(
        shape=flame["shape"][0].astype(np.float32),
        expression=flame["exp"].astype(np.float32),
        root=still,
        neck=still,
        jaw=sixd_to_rotvec(flame["jaw"]).astype(np.float32),
        eyes=sixd_to_rotvec(flame["eyes"]).astype(np.float32),
        eyelids=flame["eyelids"].astype(np.float32),
        translation=still,
    )


def _crop(path: Path, options: Mapping[str, Any], camera: Camera) -> tuple[Crop | None, list[str]]:
    """Return how the tracked pictures were cut, or None and the reason."""
    file = Path(options["bbox"]) if "bbox" in options else find_bbox(path)
    video, size = options.get("video"), (camera.width, camera.height)
    if file is None:
        if video and "bbox" not in options and size[0] != size[1] and size[0] * video[1] == size[1] * video[0]:
            return whole_picture(video, size), ["no bbox.pt: taken as the whole picture, resized"]
        return None, ["no bbox.pt is beside the frames: how they were cut from the video is not known (--bbox)"]
    box = read_bbox(file)
    if video is None:
        video = _source_size(file.parent)
    if video is None:
        return None, [f"{file} is the box, but the video's size is not known: give it (--video 1920x1080)"]
    if size[0] == size[1]:
        return tracker_crop(box, video, size[0]), []
    alone = box_alone(box, video)
    return alone, [f"img_size {size[0]}x{size[1]} is not square: the pictures are the box, neither padded nor resized"]


def _source_size(folder: Path) -> tuple[int, int] | None:
    """Return the size of the tracker's copies of the video's frames, where they are kept."""
    for kind in ("*.png", "*.jpg"):
        for picture in (folder / "source").glob(kind):
            return picture_size(picture)
    return None


def packed_torch(value: Any) -> bytes:
    """Return what `torch.save` makes of plain values and numpy arrays, read by numpy 1 and 2 alike.

    Its bytes depend on the values alone.
    """
    data = pickle.dumps(value, protocol=2)
    # numpy 1 lacks the new name of this module, numpy 2 knows the old one. It comes before any data, and once.
    data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("data.pkl", data), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", date_time=(1980, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


def _write(track: CameraTrack, path: Path) -> None:
    width, height = losses.one_size(track)
    folder = path if path.name == "checkpoint" else path / "checkpoint"
    folder.mkdir(exist_ok=True)
    names = [f"{number:05d}" for number in frame_numbers(track)]
    columns = _columns(track.head, len(track))
    rest: Any = track.extra.get("frames") if track.format == "metrical" else None
    for index, (name, camera) in enumerate(zip(names, track.cameras, strict=True)):
        block, opencv = opencv_to_metrical(camera)
        flame = {key: np.ascontiguousarray(rows[index : index + 1], np.float32) for key, rows in columns.items()}
        own: dict[str, Any] = rest[index] if rest else {"flame": {}, "global_step": 0}
        flame |= {key: np.array(value) for key, value in own["flame"].items()}
        table = {
            "flame": flame,
            "camera": block,
            "opencv": opencv,
            "img_size": np.array([height, width], np.int64),
            "frame_id": name,
            "global_step": own["global_step"],
        }
        write_whole(folder / f"{name}.frame", packed_torch(table))
    if track.crop is not None:
        write_whole(path / _BBOX, packed_torch(np.array(track.crop.box, np.int64)))


def _columns(head: HeadState | None, count: int) -> dict[str, np.ndarray]:
    """Return the parameters of all frames by the tracker's names; zero where there are none."""
    columns = {"exp": np.zeros((count, 100)), "shape": np.zeros((count, 300)), "tex": np.zeros((count, 140))}
    columns |= {"sh": np.zeros((count, 9, 3))}
    if head is None:
        still = rotvec_to_sixd(np.zeros((count, 9)))
        return {**columns, "eyes": still[:, 6:], "eyelids": np.zeros((count, 2)), "jaw": still[:, :6]}
    for name, given in (("exp", head.expression), ("shape", np.broadcast_to(head.shape, (count, len(head.shape))))):
        wide = min(columns[name].shape[1], given.shape[1])
        columns[name][:, :wide] = given[:, :wide]
    return {**columns, "eyes": rotvec_to_sixd(head.eyes), "eyelids": head.eyelids, "jaw": rotvec_to_sixd(head.jaw)}


def _losses(track: CameraTrack) -> list[str]:
    lost = []
    skew = max(abs(camera.K[1, 1] / camera.K[0, 0] - 1) for camera in track.cameras)
    if skew > 1e-6:
        lost.append(f"fy: {100 * skew:.3g}% from fx in the block camera, which has one focal length")
    crop = track.crop
    if crop is not None:
        try:
            side = crop.size[0]
            kept = crop in (tracker_crop(crop.box, crop.video, side), box_alone(crop.box, crop.video))
        except MarotteError:
            kept = False
        if not kept:
            lost.append(f"the crop: box {list(crop.box)} to {crop.size[0]}x{crop.size[1]} is not one of the tracker's")
    return lost + head_losses(track)


FORMAT = Format(
    name="metrical",
    title="metrical-tracker's .frame folder",
    recognises=_recognises,
    read=_read,
    write=_write,
    losses=_losses,
    is_folder=True,
    unit=1.0,
)
