"""Marotte: speech in, a talking 3D head out.

The curated surface: `marotte.render` and the error that everything raises. The rest lives in
`marotte.runtime`, `marotte.models`, `marotte.drivers` and `marotte.renderers`; importing this
package imports none of them.
"""

from typing import TYPE_CHECKING, Any

from marotte.errors import MarotteError

if TYPE_CHECKING:
    from marotte.runtime.offline import render

__all__ = ["MarotteError", "__version__", "render"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "render":
        from marotte.runtime.offline import render

        return render
    raise AttributeError(f"module 'marotte' has no attribute {name!r}")
