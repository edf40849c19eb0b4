"""Who is drawn: what an avatar's folder says of the person, and the Gaussians that the network makes of it, once.

Seeing a person takes seconds on a CPU, so the Gaussians are kept in the user's cache folder: 38 numbers each as
safetensors, under a hash of the photo, its camera and the network's file.
"""

import hashlib
import os
import sys
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.gagavatar import GAGAvatar, GAGAvatarConfig
from marotte.models.safe_files import read_npz
from marotte.runtime.avatar import Avatar
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.formats.gagavatar import gagavatar_to_opencv, head_motion_to_gagavatar
from marotte.runtime.places import cache_folder

# Goes up whenever the network would make other Gaussians of the same photo.
VERSION = 1
_SHAPES = {"image": (3, 512, 512), "transform_matrix": (3, 4), "shapecode": (300,)}


@dataclass(frozen=True, eq=False)
class Source:
    """What the network was shown of a person.

    image: [3, 512, 512] float32, RGB 0 to 1 on black. transform: [3, 4] float32, [R | t] of its camera as PyTorch3D
    has it. shape: [300] float32, FLAME's identity coefficients.
    """

    image: np.ndarray
    transform: np.ndarray
    shape: np.ndarray

    @property
    def camera(self) -> Camera:
        """The camera of a straight head: it keeps the photo's distance and looks at the face."""
        return gagavatar_to_opencv(head_motion_to_gagavatar(np.zeros(3), self.transform[:, 3].astype(np.float64)))


@dataclass(frozen=True, eq=False)
class Person:
    """N Gaussians of a person: those of the head, whose places are FLAME's vertices, then those of the planes.

    features: [N, 32]; opacities: [N]; covariances: [N, 6], square world units, (xx, xy, xz, yy, yz, zz); plane_means:
    [M, 3], the places of the last M. float32.
    """

    features: Tensor
    opacities: Tensor
    covariances: Tensor
    plane_means: Tensor

    def to(self, device: torch.device) -> "Person":
        """Return them on a device."""
        parts = self.features, self.opacities, self.covariances, self.plane_means
        return Person(*(x.to(device).contiguous() for x in parts))


def read_source(avatar: Avatar) -> Source:
    """Return an avatar's source. Raises MarotteError where it has none, or not one as GAGAvatar's tracker makes it."""
    fix = "import it again from a tracked entry (marotte avatars import)"
    if not avatar.source:
        raise MarotteError(f"avatar {avatar.name} names no source, so gagavatar cannot draw it: {fix}")
    path = avatar.path / avatar.source
    content = read_npz(path)
    values = {}
    for name, shape in _SHAPES.items():
        if name not in content:
            raise MarotteError(f"{path} has no {name!r}, only {', '.join(sorted(content)) or 'nothing'}: {fix}")
        value = content[name]
        if value.shape != shape or value.dtype.kind not in "iuf":
            raise MarotteError(f"{path}: {name} is {value.dtype} {list(value.shape)}, expected {list(shape)}: {fix}")
        if not np.isfinite(value).all():
            raise MarotteError(f"{path}: {name} has NaN or infinite values: {fix}")
        values[name] = np.array(value, np.float32, order="C")
    if content["image"].dtype == np.uint8:
        values["image"] = values["image"] / np.float32(255)
    elif values["image"].min() < 0 or values["image"].max() > 1:
        low, high = values["image"].min(), values["image"].max()
        raise MarotteError(f"{path}: image goes from {low:g} to {high:g}, expected 0 to 1, or bytes: {fix}")
    try:
        gagavatar_to_opencv(values["transform_matrix"])
    except MarotteError as error:
        raise MarotteError(f"{path}: transform_matrix: {error}") from None
    return Source(values["image"], values["transform_matrix"], values["shapecode"])


def person(source: Source, weights: Path, network: GAGAvatar) -> Person:
    """Return the Gaussians of a person, on the CPU: from the cache, or else made by the network and kept there.

    weights: the network's file, which tells networks apart. A cache that cannot be written costs the time of making
    them again, no more; one that is damaged too, which is said.
    """
    path = cache_folder("identities") / f"{_key(source, weights, network.config)}.safetensors"
    if path.exists():
        try:
            return _read(path, network.config)
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())[:120]
            warnings.warn(f"{path} is damaged ({why}): the person is looked at again", MarotteWarning, stacklevel=2)
    made = _made(source, network)
    with suppress(OSError):
        _write(path, made)
    return made


def covariances(quats_wxyz: Tensor, scales: Tensor) -> Tensor:
    """Return (xx, xy, xz, yy, yz, zz) [N, 6] of raw quaternions [N, 4] and standard deviations [N, 3].

    As the published rasterizer makes them: no quaternion is normalised, so those of the head do not turn much.
    """
    w, x, y, z = quats_wxyz.unbind(dim=-1)
    turn = torch.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))
    a, b, c = (turn * scales[..., None, :]).unbind(dim=-2)
    return torch.stack([(a * a), (a * b), (a * c), (b * b), (b * c), (c * c)], dim=-2).sum(dim=-1)


def _made(source: Source, network: GAGAvatar) -> Person:
    if network.head_base.device.type == "cpu" and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(
            "marotte: note: looking at the photo of this person, once (about 10 s; later starts have it)\n"
        )
        sys.stderr.flush()
    identity = network.identity(torch.from_numpy(source.image)[None], torch.from_numpy(source.transform)[None])
    looks = identity.looks
    return Person(
        looks.features[0],
        looks.opacities[0],
        covariances(looks.quats_wxyz[0], looks.scales[0]),
        identity.plane_means[0],
    ).to(torch.device("cpu"))


def _key(source: Source, weights: Path, config: GAGAvatarConfig) -> str:
    about = weights.stat()
    digest = hashlib.sha256(f"gagavatar {VERSION} {config}".encode())
    # By place, size and time: reading it takes as long as it saves.
    digest.update(f"{weights.resolve()} {about.st_size} {about.st_mtime_ns}".encode())
    for array in (source.image, source.transform):
        digest.update(array.data)
    return digest.hexdigest()


def _read(path: Path, config: GAGAvatarConfig) -> Person:
    """Return what a file of the cache holds. Raises OSError, or ValueError where it is not what was written."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    count = config.gaussians
    shapes = {
        "features": (count, config.channels),
        "opacities": (count,),
        "covariances": (count, 6),
        "plane_means": (count - config.vertices, 3),
    }
    try:
        content = load_file(path)
    except SafetensorError as error:
        raise ValueError(error) from None
    for name, shape in shapes.items():
        value = content.get(name)
        if value is None or value.shape != shape or value.dtype != torch.float32 or not value.isfinite().all():
            raise ValueError(f"{name} is not as it was written")
    return Person(**{name: content[name] for name in shapes})


def _write(path: Path, made: Person) -> None:
    from safetensors.torch import save

    content = {name: getattr(made, name) for name in made.__dataclass_fields__}
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two that write at once do not write into each other's file.
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(content))
        os.replace(part, path)
    finally:
        with suppress(OSError):
            os.unlink(part)
