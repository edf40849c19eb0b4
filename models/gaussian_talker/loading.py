"""Reading `deformation.pth` strictly, without running what is in it."""

from pathlib import Path

from torch import Tensor, nn

from marotte.models.checkpoints import Checkpoint

_PUBLISHED = Checkpoint("GaussianTalker", fix="name the deformation.pth of a whole training, or copy it again")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the entries of a `.pth` (mapped from the file, not read) or `.safetensors`, on the CPU.

    Raises MarotteError where the file cannot be read or is no flat dictionary of tensors.
    """
    return _PUBLISHED.entries(_PUBLISHED.read(path), path)


def assign(model: nn.Module, entries: dict[str, Tensor], path: Path) -> None:
    """Make the entries the model's own tensors, without a copy where they are float32.

    model: built on the meta device. Raises MarotteError that names what is missing, extra or misshapen.
    """
    _PUBLISHED.assign(model, entries, path)
