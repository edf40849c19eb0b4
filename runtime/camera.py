"""Camera: the one canonical form (OpenCV axes, continuous pixels) that everything else converts to.

The convention is section 1 of the camera reference: camera axes x right, y down, z forward; world
to camera Xc = R X + t with column vectors; (u, v) = (fx x/z + cx, fy y/z + cy) where u = 0 is the
left edge of the image and the centre of pixel i is i + 0.5, so a centred camera has cx = width / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D

# World axes as FLAME has them (x to the person's left, y up, z out of the face) seen by a camera
# that looks at the face: the picture's right is the person's left.
FACING = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in float64.

    R: [3, 3] world to camera, det +1. t: [3] in world units.
    K: [3, 3] pixels, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].
    width, height: of the image that K belongs to. space: which image that is (`video`,
        `tracked:512`, `render`). unit: world units per FLAME unit (1 metre-sized unit).

    Raises MarotteError when a matrix is not what it claims to be.
    """

    R: np.ndarray
    t: np.ndarray
    K: np.ndarray
    width: int
    height: int
    space: str = "render"
    unit: float = 1.0

    def __post_init__(self) -> None:
        for name, shape in (("R", (3, 3)), ("t", (3,)), ("K", (3, 3))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise MarotteError(f"camera {name} must be finite {list(shape)}, got {array.tolist()}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not np.allclose(self.R @ self.R.T, np.eye(3), atol=1e-4) or np.linalg.det(self.R) < 0:
            raise MarotteError(
                f"camera R is not a rotation (det {np.linalg.det(self.R):.3g}): {self.R.tolist()}; "
                "a determinant of -1 means that one axis is flipped"
            )
        fx, fy = self.K[0, 0], self.K[1, 1]
        if min(fx, fy) <= 0 or self.K[0, 1] or self.K[1, 0] or self.K[2].tolist() != [0, 0, 1]:
            raise MarotteError(
                f"camera K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0: {self.K.tolist()}"
            )
        if min(self.width, self.height) < 1:
            raise MarotteError(f"camera image is {self.width}x{self.height}: both must be at least 1")

    @property
    def centre(self) -> np.ndarray:
        """[3] where the camera is, in world units."""
        return -self.R.T @ self.t

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Return world points [..., 3] in camera axes."""
        return np.asarray(points) @ self.R.T + self.t

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return continuous pixel coordinates [..., 2] of world points [..., 3]."""
        at = self.to_camera(points)
        return at[..., :2] / at[..., 2:] * (self.K[0, 0], self.K[1, 1]) + self.K[:2, 2]

    def unproject(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return world points [..., 3] of pixels [..., 2] at camera-axis depths [...]."""
        depth = np.asarray(depth)[..., None]
        at = (np.asarray(pixels) - self.K[:2, 2]) / (self.K[0, 0], self.K[1, 1]) * depth
        return (np.concatenate([at, depth], axis=-1) - self.t) @ self.R

    def through(self, affine: Affine2D, width: int, height: int, space: str) -> "Camera":
        """Return the camera of the image that `affine` makes from this camera's image."""
        return replace(self, K=affine.matrix @ self.K, width=width, height=height, space=space)

    def scaled(self, factor: float) -> "Camera":
        """Return the camera for a world scaled by `factor`: the same image of scaled vertices."""
        return replace(self, t=self.t * factor, unit=self.unit * factor)

    def moved(self, rotation: np.ndarray, pivot: np.ndarray) -> "Camera":
        """Return the camera that sees a still world as this one sees the world turned about `pivot`.

        rotation: [3, 3]; pivot: [3] world units. X -> rotation (X - pivot) + pivot.
        """
        turned = self.R @ rotation
        return replace(self, R=turned, t=self.R @ (pivot - rotation @ pivot) + self.t)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Return K [3, 3] of focal lengths and a principal point in pixels."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def facing_camera(
    target: Sequence[float] | np.ndarray, distance: float, height: float, size: tuple[int, int]
) -> Camera:
    """Return a camera in front of a FLAME-axes head, looking straight at it.

    target: [3] world point in the picture's centre. distance: from camera to target.
    height: world units that the shorter side of the picture spans at the target.
    size: (width, height) in pixels.
    """
    width, rows = size
    focal = min(width, rows) * distance / height
    return Camera(
        R=FACING,
        t=np.array([0.0, 0.0, distance]) - FACING @ np.asarray(target, np.float64),
        K=pinhole(focal, focal, width / 2, rows / 2),
        width=width,
        height=rows,
    )
