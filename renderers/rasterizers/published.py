"""The published rasterizer's own settings, and how a camera becomes them.

Its matrices are transposed (row vectors: `[x y z 1] @ viewmatrix`), its second matrix is the full
projection from world to clip space, and its pixel centres lie on the integers; section 7 of the
rasterizer reference. It reads positions from `projmatrix` alone and shapes from `tanfovx` and
`tanfovy` alone, so an off-centre principal point is in `projmatrix` only.
"""

from dataclasses import dataclass

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.camera import Camera

# Larger pictures than this are refused: 16384 x 16384 pixels in three channels take 4 GB.
MAX_PIXELS = 2**28


@dataclass(frozen=True, eq=False)
class PublishedSettings:
    """What `GaussianRasterizationSettings` says of the view, under its names.

    image_width, image_height: pixels. tanfovx, tanfovy: tangents of half the fields of view.
    viewmatrix: [4, 4] world to camera, transposed. projmatrix: [4, 4] world to clip, transposed;
    its row z is not used. campos: [3] the camera's centre, world units, used for the direction of
    spherical harmonics alone. scale_modifier: factor of all scales, without effect on covariances.
    """

    image_width: int
    image_height: int
    tanfovx: float
    tanfovy: float
    viewmatrix: np.ndarray
    projmatrix: np.ndarray
    campos: np.ndarray
    scale_modifier: float = 1.0

    def __post_init__(self) -> None:
        width, height = self.image_width, self.image_height
        if min(width, height) < 1 or width * height > MAX_PIXELS:
            raise MarotteError(
                f"a picture of {width}x{height} pixels cannot be drawn: both must be at least 1, and at most "
                f"{MAX_PIXELS} pixels in all"
            )
        for name, shape in (("viewmatrix", (4, 4)), ("projmatrix", (4, 4)), ("campos", (3,))):
            array = np.array(getattr(self, name), dtype=np.float32, order="C")
            if array.shape != shape:
                raise MarotteError(f"{name} must be {list(shape)}, got {list(array.shape)}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def background(self, given: np.ndarray | None, channels: int) -> np.ndarray:
        """Return a background [C] or [H, W, C] as [1, 1, C] or [H, W, C]; None is zeros."""
        behind = np.zeros(channels, np.float32) if given is None else np.asarray(given)
        image = (self.image_height, self.image_width, channels)
        if behind.shape not in ((channels,), image) or behind.dtype.kind not in "fiu":
            raise MarotteError(
                f"background is {behind.dtype} {list(behind.shape)}: give numbers, [{channels}] or {list(image)}"
            )
        return behind if behind.ndim == 3 else behind.reshape(1, 1, channels)

    @classmethod
    def from_camera(cls, camera: Camera) -> "PublishedSettings":
        """Return the settings that show what `camera` sees."""
        width, height = camera.width, camera.height
        fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = camera.R, camera.t
        # The corner of the image is clip point (-1, -1); the row of z is free, nothing reads it.
        camera_to_clip = np.array(
            [
                [2 * fx / width, 0, 2 * cx / width - 1, 0],
                [0, 2 * fy / height, 2 * cy / height - 1, 0],
                [0] * 4,
                [0, 0, 1, 0],
            ]
        )
        with np.errstate(over="ignore"):
            return cls(
                image_width=width,
                image_height=height,
                tanfovx=width / (2 * fx),
                tanfovy=height / (2 * fy),
                viewmatrix=world_to_camera.T,
                projmatrix=(camera_to_clip @ world_to_camera).T,
                campos=camera.centre,
            )
