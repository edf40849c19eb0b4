"""Reading `GAGAvatar.pt` strictly, without running what is in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from marotte.errors import MarotteError
from marotte.models.checkpoints import Checkpoint
from marotte.models.gagavatar.config import FLAME_SCALE, FOCAL_NDC

_PUBLISHED = Checkpoint("GAGAvatar", fix="get GAGAvatar.pt again (marotte assets fetch gagavatar)")
# Of networks that only training needs; they come with the published file.
_TRAINING = "percep_loss"
# What the file's configuration says of the world that the network was trained in.
_WORLD = {"FLAME_SCALE": FLAME_SCALE, "FOCAL_LENGTH": FOCAL_NDC}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the network's entries of a `.pt` (mapped from the file, not read) or `.safetensors`, on the CPU.

    What only training needs is left out. Raises MarotteError where the file cannot be read, holds no network, or was
    trained with another unit or lens.
    """
    content = _PUBLISHED.read(path)
    if isinstance(content, dict) and "model" in content:
        for name, value in _numbers(content.get("meta_cfg")):
            if value != _WORLD.get(name, value):
                wanted = f"{_WORLD[name]:g} as published"
                raise MarotteError(f"{path} was trained with {name} {value:g}, expected {wanted}: {_PUBLISHED.fix}")
        content = content["model"]
    return {k: v for k, v in _PUBLISHED.entries(content, path).items() if _TRAINING not in k}


def _numbers(configuration: object) -> Iterator[tuple[str, float]]:
    """Yield the names and numbers of a configuration, at any depth."""
    if isinstance(configuration, Mapping):
        for name, value in configuration.items():
            if isinstance(value, int | float):
                yield str(name), float(value)
            else:
                yield from _numbers(value)


def assign(model: nn.Module, entries: dict[str, Tensor], path: Path) -> None:
    """Make the entries the model's own tensors, without a copy where they are float32.

    model: built on the meta device. Raises MarotteError that names what is missing, extra or misshapen.
    """
    _PUBLISHED.assign(model, entries, path)
