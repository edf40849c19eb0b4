"""Reading an ARTalk checkpoint strictly, without running what is in it."""

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from marotte.errors import MarotteError

# How torch before 2.0 called the two parts of a normalised convolution's weight.
_OLDER = {
    ".pos_conv_embed.conv.weight_g": ".pos_conv_embed.conv.parametrizations.weight.original0",
    ".pos_conv_embed.conv.weight_v": ".pos_conv_embed.conv.parametrizations.weight.original1",
}
_FIX = "get ARTalk_wav2vec.pt again (marotte assets fetch)"
# Of the names that an error lists, so many; the rest is counted.
_SHOWN = 3


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the entries of a `.pt` (mapped from the file, not read) or `.safetensors`, on the CPU, by today's names.

    Raises MarotteError where the file cannot be read or is no flat dictionary of tensors.
    """
    try:
        entries = _safetensors(path) if path.suffix == ".safetensors" else _archive(path)
    except OSError as error:
        raise MarotteError(f"cannot read {path}: {error.strerror or error}") from None
    if not isinstance(entries, dict) or not all(isinstance(value, Tensor) for value in entries.values()):
        raise MarotteError(f"{path} is not a flat dictionary of tensors, so not an ARTalk checkpoint: {_FIX}")
    return {_todays(str(name)): value for name, value in entries.items()}


def _archive(path: Path) -> object:
    if not zipfile.is_zipfile(path):  # which looks at the end, where a truncated file has none
        path.open("rb").close()
        raise MarotteError(f"{path} is truncated, or not written by torch.save in its zip form: {_FIX}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise MarotteError(f"{path} asks for more than tensors, so it was not opened: {_FIX}") from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise MarotteError(f"{path} is no torch checkpoint, or damaged ({_line(error)}): {_FIX}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise MarotteError(f"{path} is damaged ({_line(error)}): {_FIX}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


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
    expected = model.state_dict()
    problems = _listed("missing", [name for name in expected if name not in entries])
    problems += _listed("not ARTalk's", [name for name in entries if name not in expected])
    problems += _listed("of another shape", _misshapen(entries, expected))
    problems += _listed("of another type", _mistyped(entries, expected))
    if problems:
        raise MarotteError(f"{path} is not this ARTalk checkpoint: {'; '.join(problems)}: {_FIX}")
    # Shorter numbers are widened: what runs in them is asked for by dtype, not by how a file was saved.
    exact = {name: value.to(expected[name].dtype) for name, value in entries.items()}
    model.load_state_dict(exact, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def _listed(what: str, names: list[str]) -> list[str]:
    """Return one phrase that counts the names and gives the first few, or none."""
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"]


def _misshapen(entries: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    return [
        f"{name} {list(entries[name].shape)} (expected {list(tensor.shape)})"
        for name, tensor in expected.items()
        if name in entries and entries[name].shape != tensor.shape
    ]


def _mistyped(entries: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    return [
        f"{name} {str(entries[name].dtype).removeprefix('torch.')}"
        for name, tensor in expected.items()
        if name in entries and entries[name].is_floating_point() != tensor.is_floating_point()
    ]
