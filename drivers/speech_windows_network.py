"""A user's speech recogniser as an ONNX model: rows of cepstra with context in, logits of 29 classes out.

The model's own declaration decides in which of the usual layouts it is fed. onnxruntime is optional.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.gaussian_talker.config import CLASSES
from marotte.runtime.audio.deepspeech import CEPSTRA, CONTEXT, WIDTH

_SEEN = 2 * CONTEXT + 1  # rows that stand side by side in the input
_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_INTEGERS = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}

# The layouts of T rows of input, by what is declared; None is any number, which T takes.
_LAYOUTS: tuple[tuple[int | None, ...], ...] = (
    (None, WIDTH),
    (1, None, WIDTH),
    (None, _SEEN, CEPSTRA),
    (1, None, _SEEN, CEPSTRA),
)
_INPUTS = f"[T, {WIDTH}], [1, T, {WIDTH}], [T, {_SEEN}, {CEPSTRA}] or [1, T, {_SEEN}, {CEPSTRA}]"
_OUTPUTS = f"[T, {CLASSES}], [T, 1, {CLASSES}] or [1, T, {CLASSES}]"


def why_not() -> str:
    """Return what is missing here for ONNX models, in words."""
    return "" if find_spec("onnxruntime") else "onnxruntime is not installed: pip install onnxruntime"


class LogitNetwork:
    """The model in a file. It may have a second input, one integer, for the number of rows, as DeepSpeech's export has.

    Raises MarotteError where onnxruntime is missing, the file cannot be read, or its inputs and outputs are others.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._session = _open(self._path)
        features = [one for one in self._session.get_inputs() if one.type in _FLOATS]
        lengths = [one for one in self._session.get_inputs() if one.type in _INTEGERS and _is_one(one.shape)]
        if len(features) != 1 or len(lengths) > 1 or len(features) + len(lengths) < len(self._session.get_inputs()):
            found = ", ".join(f"{one.name} {_shape(one.shape)} {one.type}" for one in self._session.get_inputs())
            raise self._refusal(f"takes {found or 'nothing'}", f"one of {_INPUTS}, and maybe the number of rows")
        self._input = features[0]
        self._length = lengths[0] if lengths else None
        self._layout = self._find_layout(self._input.shape)
        self._output = self._find_output()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the logits [T, 29] float32 of rows [T, 494]. Raises MarotteError where the model fails."""
        count = len(rows)
        shape = [count if size is None else size for size in self._layout]
        given: dict[str, np.ndarray] = {self._input.name: rows.reshape(shape).astype(_FLOATS[self._input.type])}
        if self._length is not None:
            given[self._length.name] = np.full([1] * len(self._length.shape), count, _INTEGERS[self._length.type])
        try:
            out = np.asarray(self._session.run([self._output], given)[0])
        except Exception as error:  # onnxruntime has a class of its own for each kind of failure
            raise MarotteError(f"{self._path} fails on input of shape {shape}: {_first_line(error)}") from error
        if out.shape not in ((count, CLASSES), (count, 1, CLASSES), (1, count, CLASSES)):
            raise self._refusal(f"gives {list(out.shape)} for T = {count} rows", _OUTPUTS)
        if not np.isfinite(out).all():
            raise MarotteError(f"{self._path} gives numbers that are not finite: export it again in float32")
        return out.reshape(count, CLASSES).astype(np.float32)

    def _find_layout(self, declared: list[Any]) -> tuple[int | None, ...]:
        # Of a size that the model leaves open, the first layout that fits is taken: the one with long rows.
        for layout in _LAYOUTS:
            if len(layout) == len(declared) and all(
                not isinstance(size, int) or size == wanted for size, wanted in zip(declared, layout, strict=True)
            ):
                return layout
        raise self._refusal(f"takes {self._input.name} {_shape(declared)}", f"{_INPUTS} with T left open")

    def _find_output(self) -> str:
        """Return the name of the first output whose rows have, or may have, 29 classes."""
        outputs = self._session.get_outputs()
        for known in (True, False):
            for one in outputs:
                last = one.shape[-1] if one.shape else None
                if one.type in _FLOATS and (last == CLASSES if known else not isinstance(last, int)):
                    return one.name
        found = ", ".join(f"{one.name} {_shape(one.shape)} {one.type}" for one in outputs)
        raise self._refusal(f"gives {found}", f"{_OUTPUTS} of floats")

    def _refusal(self, found: str, wanted: str) -> MarotteError:
        return MarotteError(f"{self._path} {found}, expected {wanted}: export another model")


def _open(path: Path) -> Any:
    if missing := why_not():
        raise MarotteError(f"{path} cannot be used: {missing}")
    if not path.is_file():
        raise MarotteError(f"{path} is {'not a file' if path.exists() else 'not there'}: name an ONNX model")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what fails is raised, and raised once is enough
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each kind of failure
        raise MarotteError(f"{path} cannot be read as an ONNX model: {_first_line(error)}") from error


def _is_one(shape: list[Any]) -> bool:
    """Tell whether a declared shape is that of a single number."""
    return len(shape) <= 1 and all(not isinstance(size, int) or size == 1 for size in shape)


def _shape(declared: list[Any]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in declared)}]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
