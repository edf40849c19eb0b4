"""Reading an ARTalk checkpoint strictly, without running what is in it."""

from pathlib import Path

from torch import Tensor, nn

from marotte.errors import MarotteError
from marotte.models.checkpoints import Checkpoint

# How torch before 2.0 called the two parts of a normalised convolution's weight.
_OLDER = {
    ".pos_conv_embed.conv.weight_g": ".pos_conv_embed.conv.parametrizations.weight.original0",
    ".pos_conv_embed.conv.weight_v": ".pos_conv_embed.conv.parametrizations.weight.original1",
}
_PUBLISHED = Checkpoint("ARTalk", fix="get ARTalk_wav2vec.pt again (marotte assets fetch)")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the entries of a `.pt` (mapped from the file, not read) or `.safetensors`, on the CPU, by today's names.

    Raises MarotteError where the file cannot be read or is no flat dictionary of tensors.
    """
    entries = _PUBLISHED.entries(_PUBLISHED.read(path), path)
    return {_todays(name): value for name, value in entries.items()}


def _todays(name: str) -> str:
    for older, newer in _OLDER.items():
        if name.endswith(older):
            return name.removesuffix(older) + newer
    return name


def assign(model: nn.Module, entries: dict[str, Tensor], path: Path) -> None:
    """Make the entries the model's own tensors, without a copy where they are float32.

    model: built on the meta device. Raises MarotteError that names what is missing, extra or misshapen.
    """
    if any(name.startswith("audio_encoder.acoustic_model.") for name in entries):
        raise MarotteError(f"{path} is ARTalk's mimi variant, which is not supported: use ARTalk_wav2vec.pt")
    _PUBLISHED.assign(model, entries, path)
