"""IMavatar's `flame_params.json`, as SplattingAvatar reads it, and the camera that its rasterizer is handed.

`world_mat` [3, 4] takes the world (FLAME's axes, 4 units a metre) to OpenGL camera axes: x right, y up, z backward;
it is not transposed. `intrinsics` [4] are fx, fy, cx, cy over the picture's width, height, width, height; fx is
written negated. Sources: reference/splatting_avatar/SPEC.md, section 4; reference/cameras/SPEC.md, sections 6 and 7.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json
from marotte.runtime.affine import resize
from marotte.runtime.camera import FACING, Camera, pinhole
from marotte.runtime.head import HeadState

# World units per FLAME unit: the format's vertices, and so its translations, are four times metres.
UNIT = 4.0
_POSE = 15
_RESOLUTIONS = (1, 2, 4, 8)
# They enter the projection's third row alone, which no rasterizer reads; it has its own near limit.
_NEAR, _FAR = 0.5, 5.0


@dataclass(frozen=True, eq=False)
class ImavatarTrack:
    """T frames of a data set.

    cameras: T, unit 4; shape: [100] identity; expression: [T, 50]; full_pose: [T, 15] rotation vectors in radians of
    root, neck, jaw, left eye, right eye; images: T paths, whether they exist or not. Floats are float32. A slice of
    the track is a track.
    """

    cameras: tuple[Camera, ...]
    shape: np.ndarray
    expression: np.ndarray
    full_pose: np.ndarray
    images: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, frames: slice) -> "ImavatarTrack":
        return replace(
            self,
            cameras=self.cameras[frames],
            expression=self.expression[frames],
            full_pose=self.full_pose[frames],
            images=self.images[frames],
        )

    @property
    def head(self) -> HeadState:
        """The head of each frame; the identity is not in it, since avatars have it baked in."""
        pose, nothing = self.full_pose, np.zeros((len(self), 3), np.float32)
        return HeadState(
            shape=np.zeros(0, np.float32),
            expression=self.expression,
            root=pose[:, :3],
            neck=pose[:, 3:6],
            jaw=pose[:, 6:9],
            eyes=pose[:, 9:],
            eyelids=nothing[:, :2],
            translation=nothing,
        )

    def split(self, num_for_train: int) -> tuple["ImavatarTrack", "ImavatarTrack"]:
        """Return the train and the test part, as published: a negative number counts from the end.

        So the default -350 leaves no frame to train on where there are 350 or fewer.
        """
        return self[:num_for_train], self[num_for_train:]


class Camera3DGS(NamedTuple):
    """A camera as the rasterizers of the 3DGS family are handed it: float32 matrices for row vectors.

    view: [4, 4] world to camera, transposed; projection: [4, 4] camera to clip, transposed; full_projection: [4, 4]
    the one after the other; centre: [3]; fov: (x, y) in radians, from which the rasterizer takes its focal lengths.
    """

    view: np.ndarray
    projection: np.ndarray
    full_projection: np.ndarray
    centre: np.ndarray
    fov: tuple[float, float]

    @property
    def tan_half_fov(self) -> tuple[float, float]:
        """Tangents of half the fields of view."""
        return float(np.tan(self.fov[0] / 2)), float(np.tan(self.fov[1] / 2))


def imavatar_to_opencv(world_mat: Any, intrinsics: Any, width: int, height: int) -> Camera:
    """Return the camera of a picture of width x height pixels.

    Raises MarotteError where the matrix has no rotation in it.
    """
    world_mat, intrinsics = np.asarray(world_mat, np.float64), np.asarray(intrinsics, np.float64)
    if world_mat.shape != (3, 4) or intrinsics.shape != (4,):
        raise MarotteError(
            f"an IMavatar camera has a 3x4 world_mat and 4 intrinsics, got {world_mat.shape} and {intrinsics.shape}"
        )
    # A quirk: absolute values, so a principal point left of or above the picture changes sides. IMavatar itself
    # takes intrinsics above 1 as pixels at 512; SplattingAvatar multiplies them all the same, and so does this.
    fx, fy, cx, cy = np.abs(intrinsics * (width, height, width, height))
    return Camera(
        # From x right, y up, z backward to x right, y down, z forward.
        R=FACING @ world_mat[:, :3],
        t=FACING @ world_mat[:, 3],
        K=pinhole(fx, fy, cx, cy),
        width=width,
        height=height,
        space="video",
        unit=UNIT,
    )


def opencv_to_imavatar(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return world_mat [3, 4] and intrinsics [4] of a camera in any unit.

    Raises MarotteError where the principal point is left of or above the picture: readers drop its sign.
    """
    scaled = camera.scaled(UNIT / camera.unit)
    fx, fy, (cx, cy) = camera.K[0, 0], camera.K[1, 1], camera.K[:2, 2]
    if cx < 0 or cy < 0:
        raise MarotteError(f"IMavatar's format cannot hold the principal point ({cx:g}, {cy:g}): crop the pictures")
    world_mat = np.concatenate([FACING @ scaled.R, (FACING @ scaled.t)[:, None]], axis=1)
    width, height = camera.width, camera.height
    return world_mat, np.array([-fx / width, fy / height, cx / width, cy / height])


def opencv_to_3dgs(camera: Camera) -> Camera3DGS:
    """Return what SplattingAvatar hands to the rasterizer; unlike plain 3DGS's, with the principal point.

    The rasterizer's pixels count from their centres: its x is this camera's u - 0.5.
    """
    width, height = camera.width, camera.height
    fx, fy, (cx, cy) = camera.K[0, 0], camera.K[1, 1], camera.K[:2, 2]
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3], world_to_camera[:3, 3] = camera.R, camera.t
    camera_to_clip = np.array(
        [
            [2 * fx / width, 0, (2 * cx - width) / width, 0],
            [0, 2 * fy / height, (2 * cy - height) / height, 0],
            [0, 0, _FAR / (_FAR - _NEAR), -_FAR * _NEAR / (_FAR - _NEAR)],
            [0, 0, 1, 0],
        ]
    )
    full = camera_to_clip @ world_to_camera
    return Camera3DGS(
        view=world_to_camera.T.astype(np.float32),
        projection=camera_to_clip.T.astype(np.float32),
        full_projection=full.T.astype(np.float32),
        centre=camera.centre.astype(np.float32),
        fov=(float(2 * np.arctan(width / (2 * fx))), float(2 * np.arctan(height / (2 * fy)))),
    )


def read_imavatar(path: str | Path, size: tuple[int, int] | None = None, resolution: int = 1) -> ImavatarTrack:
    """Return the frames of a `flame_params.json`, or of the one in a folder.

    size: (width, height) of the pictures, None reads each picture's own; resolution: 1, 2, 4 or 8, by what pictures
    are divided. Boxes and keypoints in the file are not read. Raises MarotteError where the file is damaged or a
    picture is missing.
    """
    path = Path(path)
    path = path / "flame_params.json" if path.is_dir() else path
    if resolution not in _RESOLUTIONS:
        raise MarotteError(f"resolution {resolution} is unknown: use 1, 2, 4 or 8")
    table = read_json(path)
    frames = table.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise MarotteError(f"{path} has no list of 'frames': it is not IMavatar's flame_params.json")
    intrinsics = _numbers(path, "intrinsics", table, 4)
    cameras, images, expressions, poses = [], [], [], []
    for number, frame in enumerate(frames):
        where = f"frames[{number}]"
        image = _image(path, where, frame)
        world_mat = _numbers(path, f"{where}.world_mat", frame, 12).reshape(3, 4)
        expressions.append(_numbers(path, f"{where}.expression", frame))
        if expressions[-1].shape != expressions[0].shape:
            raise MarotteError(
                f"{path}: {where} has {len(expressions[-1])} expression coefficients, the first has "
                f"{len(expressions[0])}: they must agree"
            )
        poses.append(_numbers(path, f"{where}.pose", frame, _POSE))
        try:
            camera = imavatar_to_opencv(world_mat, intrinsics, *(size or _size(image)))
        except MarotteError as error:
            raise MarotteError(f"{path}: {where}: {error}") from None
        cameras.append(_divided(camera, resolution))
        images.append(image)
    shape = _numbers(path, "shape_params", table)
    return ImavatarTrack(
        cameras=tuple(cameras),
        shape=shape.astype(np.float32),
        expression=np.array(expressions, np.float32),
        full_pose=np.array(poses, np.float32),
        images=tuple(images),
    )


def _divided(camera: Camera, resolution: int) -> Camera:
    """Return the camera of the picture over `resolution`: as wide an angle on fewer pixels."""
    if resolution == 1:
        return camera
    width, height = round(camera.width / resolution), round(camera.height / resolution)
    if not width or not height:
        raise MarotteError(f"a picture of {camera.width}x{camera.height} is too small for resolution {resolution}")
    smaller = resize((camera.width, camera.height), (width, height))
    return camera.through(smaller, width, height, camera.space)


def _image(path: Path, where: str, frame: dict[str, Any]) -> Path:
    """Return where a frame's picture is, as published: under `images`, else under `image`."""
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise MarotteError(f"{path}: {where}.file_path is {name!r}: expected a name like './image/1'")
    image = path.parent / (name.replace("/image/", "/images/") + ".png")
    older = path.parent / (name.replace("/images/", "/image/") + ".png")
    return older if older.exists() and not image.exists() else image


def _size(image: Path) -> tuple[int, int]:
    """Return width and height of a picture."""
    from PIL import Image

    if not image.is_file():
        raise MarotteError(f"its picture {image} is not there, so its size is unknown: add it, or give the size")
    try:
        with Image.open(image) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MarotteError(f"its picture {image} cannot be read ({error}): add it again, or give the size") from None


def _numbers(path: Path, where: str, table: dict[str, Any], count: int | None = None) -> np.ndarray:
    """Return the entry at the end of `where` flat, as finite float64."""
    key = where.rpartition(".")[2]
    try:
        array = np.array(table[key], np.float64).ravel()
    except KeyError:
        raise MarotteError(f"{path} lacks {where}: it is not IMavatar's flame_params.json") from None
    except (TypeError, ValueError, OverflowError):
        raise MarotteError(f"{path}: {where} has something that is no number: export it again") from None
    if count is not None and len(array) != count:
        raise MarotteError(f"{path}: {where} has {len(array)} numbers, expected {count}")
    if not (np.abs(array) < np.finfo(np.float32).max).all():
        raise MarotteError(f"{path}: {where} has a number that is NaN, infinite or too large: export it again")
    return array
