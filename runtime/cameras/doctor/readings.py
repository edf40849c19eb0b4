"""What a camera file says, taken as its published reader takes it and believed: a faulty file must be read as well.

Nothing is checked here but that the numbers are there and finite. A rotation may be a reflection, a focal length
negative; whether that is right is the doctor's question, not the reader's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.cameras.doctor.setting import Setting, Size

# Changes of camera axes from OpenCV's, on the camera's side: to OpenGL's and to PyTorch3D's view axes.
OPENGL = np.diag([1.0, -1.0, -1.0])
PYTORCH3D = np.diag([-1.0, -1.0, 1.0])
AXES = {"opencv": np.eye(3), "opengl": OPENGL, "pytorch3d": PYTORCH3D}


@dataclass(frozen=True)
class Finding:
    """Something that a file says wrongly by itself. fault: its name, `` for a remark; text: a sentence; sure: 0 to 1.

    alternatives: other names for the same thing.
    """

    fault: str
    text: str
    sure: float = 0.9
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Reading:
    """N cameras as a reader takes them: OpenCV axes, continuous pixels, metres (the format's unit divided away).

    R: [N, 3, 3] and t: [N, 3] world to camera. K: [N, 3, 3] pixels. image: (width, height) of the pictures.
    axes: of the cameras in the file, a key of AXES. stored_c2w: whether the file has camera-to-world matrices.
    unit: the format's units per metre. angles: [N, 2] whole fields of view in radians as read, where the focal
    length comes from them; angle_unit: `radians` or `degrees`, which the file is meant to have them in. euler: [N, 3]
    where the rotation comes from these. centred: whether the format has no principal point. stated: (width, height)
    that the file says. sizes: [N, 2] where pictures differ in size. fields: other places of the file that say the
    same, and which frames they are for. findings: what was seen while reading. normalised: what
    distance of the cameras is a round number, if any. raw: the file's content, to mend it.
    """

    format: str
    path: Path
    R: np.ndarray
    t: np.ndarray
    K: np.ndarray
    image: Size
    names: tuple[str, ...]
    label: str = "the file"
    axes: str = "opencv"
    stored_c2w: bool = False
    unit: float = 1.0
    angles: np.ndarray | None = None
    angle_unit: str = "radians"
    euler: np.ndarray | None = None
    centred: bool = False
    stated: Size | None = None
    sizes: np.ndarray | None = None
    fields: tuple[tuple["Reading", np.ndarray], ...] = ()
    findings: tuple[Finding, ...] = ()
    normalised: str = ""
    raw: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.R)

    def take(self, index: np.ndarray) -> "Reading":
        """Return the cameras of these numbers."""
        part = {
            name: value[index]
            for name in ("R", "t", "K", "angles", "euler", "sizes")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **part, names=tuple(self.names[i] for i in index), fields=())

    @property
    def middles(self) -> np.ndarray:
        """[N, 2] the pictures' centres in pixels."""
        return (
            np.broadcast_to(np.array(self.image, np.float64), (len(self), 2)) / 2
            if self.sizes is None
            else self.sizes / 2
        )

    @property
    def centres(self) -> np.ndarray:
        """[N, 3] where the cameras are."""
        return -np.einsum("nji,nj->ni", self.R, self.t)


Reader = Callable[[Path, Setting], Reading]


def intrinsics(count: int, fx: Any, fy: Any, cx: Any, cy: Any) -> np.ndarray:
    """Return [count, 3, 3] of numbers or arrays [count]."""
    K = np.zeros((count, 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = fx, fy, cx, cy, 1
    return K


def inverted(matrices: np.ndarray, path: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation [N, 3, 3] and translation [N, 3] of the inverse of [N, 3 or 4, 4]."""
    try:
        R = np.linalg.inv(matrices[:, :3, :3])
    except np.linalg.LinAlgError:
        raise MarotteError(f"{path}: a {what} has no inverse: export it again") from None
    return R, -np.einsum("nij,nj->ni", R, matrices[:, :3, 3])


def euler_matrices(angles: np.ndarray) -> np.ndarray:
    """Return [N, 3, 3] in OpenGL camera axes of GaussianTalker's angles [N, 3]: Rx(theta) Ry(phi) Rz(-psi)."""
    theta, phi, psi = angles.T
    (ct, st), (cp, sp), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (theta, phi, -psi))
    one, zero = np.ones_like(ct), np.zeros_like(ct)
    x = _stacked([one, zero, zero, zero, ct, -st, zero, st, ct])
    y = _stacked([cp, zero, sp, zero, one, zero, -sp, zero, cp])
    z = _stacked([cz, -sz, zero, sz, cz, zero, zero, zero, one])
    return x @ y @ z


def _stacked(entries: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(entries, axis=-1).reshape(-1, 3, 3)


def picture_size(setting: Setting, folder: Path, names: Sequence[str]) -> Size | None:
    """Return the size of the pictures: as given, else that of the first that is there, else None."""
    if setting.image is not None:
        return setting.image
    from PIL import Image

    for name in names[:1]:
        stem = folder / name
        for place in (stem, stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".jpg")):
            if place.is_file():
                try:
                    with Image.open(place) as picture:
                        return picture.size
                except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                    return None
    return None


def flag(content: Mapping[str, Any], *keys: str) -> str | None:
    """Return the first of some keys that a table has."""
    return next((key for key in keys if key in content), None)
