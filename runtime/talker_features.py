"""Which audio features an avatar that hears for itself is driven by: `--features` and `--normalise`."""

from pathlib import Path
from typing import Any

from marotte.errors import MarotteError
from marotte.runtime.contracts import FeatureNeed

PHONES = "marotte-phones"  # the space of our own, the only ones that need nothing of the user

_GIVE = "give --features aud_ds.npy or model.onnx"


def choose(option: str | None, space: str, normalise: str | None = None, *, avatar: str = "") -> FeatureNeed:
    """Return the windows of features that a GaussianTalker avatar is driven by: at 25 fps the eight as published.

    option: `phones`, the path of an `.npy` or `.onnx`, None for the avatar's own where Marotte can make them.
    space: what the avatar was trained on. normalise: `clip` or `running`, for an `.onnx`. avatar: its name, for errors.
    Raises MarotteError where that is not possible.
    """
    suffix = Path(option).suffix.lower() if option else ""
    if normalise is not None and suffix != ".onnx":
        raise MarotteError(f"--normalise {normalise} is for an .onnx: give one by --features, or leave it out")
    if option is None and space != PHONES:
        trained = f"{avatar or '(no name)'} was trained on {space or 'unnamed'} features"
        raise MarotteError(f"avatar {trained}, which Marotte cannot make: {_GIVE}")
    if option is None or option == "phones":
        return _need("phone-windows", space)
    if suffix not in (".npy", ".onnx"):
        raise MarotteError(f"features {option!r} are neither 'phones' nor an .npy nor an .onnx: {_GIVE}")
    if not Path(option).is_file():
        raise MarotteError(f"features {option} are {'no file' if Path(option).exists() else 'not there'}: {_GIVE}")
    if suffix == ".npy":
        return _need("recorded-windows", space, path=option)
    return _need("onnx-windows", space, path=option, normalise=normalise or "clip")


def _need(kind: str, space: str, **options: Any) -> FeatureNeed:
    return FeatureNeed(kind, window=8, stride=2, before=4, space=space, options=options)
