"""Reading a published torch checkpoint strictly, without running what is in it."""

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from marotte.errors import MarotteError

# Of the names that an error lists, so many; the rest is counted.
_SHOWN = 3


@dataclass(frozen=True)
class Checkpoint:
    """A published file, as errors speak of it. network: its name; fix: what to do where the file is another."""

    network: str
    fix: str

    def read(self, path: Path) -> object:
        """Return the content of a `.pt` (mapped from the file, not read) or `.safetensors`, on the CPU.

        Raises MarotteError where the file cannot be read, is damaged or asks for more than tensors.
        """
        try:
            return self._safetensors(path) if path.suffix == ".safetensors" else self._archive(path)
        except OSError as error:
            raise MarotteError(f"cannot read {path}: {error.strerror or error}") from None

    def _archive(self, path: Path) -> object:
        if not zipfile.is_zipfile(path):  # which looks at the end, where a truncated file has none
            path.open("rb").close()
            raise MarotteError(f"{path} is truncated, or not written by torch.save in its zip form: {self.fix}")
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            raise MarotteError(f"{path} asks for more than tensors, so it was not opened: {self.fix}") from error
        except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise MarotteError(f"{path} is no torch checkpoint, or damaged ({_line(error)}): {self.fix}") from error

    def _safetensors(self, path: Path) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise MarotteError(f"{path} is damaged ({_line(error)}): {self.fix}") from None

    def entries(self, content: object, path: Path) -> dict[str, Tensor]:
        """Return the content by names. Raises MarotteError where it is no flat dictionary of tensors."""
        if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
            wanted = f"a flat dictionary of tensors, as {self.network}'s checkpoint is"
            raise MarotteError(f"{path} is not {wanted}: {self.fix}")
        return {str(name): value for name, value in content.items()}

    def assign(self, model: nn.Module, entries: dict[str, Tensor], path: Path) -> None:
        """Make the entries the model's own tensors, without a copy where they are of its type.

        model: built on the meta device. Raises MarotteError that names what is missing, extra or misshapen.
        """
        expected = model.state_dict()
        problems = _listed("missing", [name for name in expected if name not in entries])
        problems += _listed(f"not {self.network}'s", [name for name in entries if name not in expected])
        problems += _listed("of another shape", _misshapen(entries, expected))
        problems += _listed("of another type", _mistyped(entries, expected))
        if problems:
            raise MarotteError(f"{path} is not this {self.network} checkpoint: {'; '.join(problems)}: {self.fix}")
        # Shorter numbers are widened: what runs in them is asked for by dtype, not by how a file was saved.
        exact = {name: value.to(expected[name].dtype) for name, value in entries.items()}
        model.load_state_dict(exact, strict=True, assign=True)
        for parameter in model.parameters():
            parameter.requires_grad_(False)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


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
