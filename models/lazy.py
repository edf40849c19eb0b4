"""Packages whose networks need torch: their names are imported when they are first asked for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from marotte.errors import MarotteError


def lazy_name(package: str, modules: Mapping[str, str], name: str, title: str, extra: str) -> Any:
    """Return what a package's `__getattr__` is asked for.

    modules: the module of each name; title, extra: of the network, and what installs its libraries. Raises
    AttributeError for another name, and MarotteError where torch is not installed.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{package}.{modules[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MarotteError(f"{title} needs torch, which is not installed: pip install 'marotte[{extra}]'") from None
