"""Plug-ins by entry point: the built-in ones are found exactly as a stranger's wheel would be."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from marotte.errors import MarotteError, unknown_name

GROUPS = {
    "driver": "marotte.drivers",
    "renderer": "marotte.renderers",
    "features": "marotte.features",
    "benchmark": "marotte.benchmarks",
}


@cache
def found(kind: str) -> dict[str, EntryPoint]:
    """Return the entry points of a kind (`driver`, `renderer`, `features`) by name."""
    return {point.name: point for point in sorted(entry_points(group=GROUPS[kind]))}


def load(kind: str, name: str) -> Any:
    """Return what the plug-in's entry point names: a class or another factory.

    Raises MarotteError for a name that nobody registered and for a plug-in that does not import.
    """
    points = found(kind)
    if name not in points:
        raise unknown_name(kind, name, points)
    point = points[name]
    try:
        return point.load()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise MarotteError(f"the {kind} {name!r} ({point.value}) does not import: {why}") from error


def create(kind: str, name: str, **options: Any) -> Any:
    """Return a new driver, renderer or feature extractor, made with `options`."""
    factory = load(kind, name)
    try:
        return factory(**options)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # raised inside the plug-in, not by the call
        raise MarotteError(f"the {kind} {name!r} does not take these options ({error})") from error


def status(kind: str) -> dict[str, str]:
    """Return for each plug-in of a kind an empty string where it can be used, else why it cannot."""
    result = {}
    for name in found(kind):
        try:
            why_not = getattr(load(kind, name), "why_not", None)
            result[name] = f"not available: {why}" if why_not and (why := why_not()) else ""
        except MarotteError as error:
            result[name] = str(error)
    return result
