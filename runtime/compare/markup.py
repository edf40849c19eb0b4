"""HTML out of text that nobody has looked at: whatever is not `Html` already is escaped."""

from collections.abc import Iterable
from html import escape

_VOID = {"img", "input", "link", "meta", "br"}


class Html(str):
    """Text that is HTML, and goes in as it is."""

    __slots__ = ()


def element(name: str, /, *content: str | None, **attributes: str | int | bool | None) -> Html:
    """Return an element with its content, each piece text or `Html`; None leaves a piece or an attribute out.

    Attributes: by name, with `_` for `-`, one at the end as in `class_` off; True stands without a value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{escape(str(value))}"')
    start = Html(f"<{' '.join(words)}>")
    return start if name in _VOID else Html(f"{start}{joined(content)}</{name}>")


def joined(pieces: Iterable[str | None]) -> Html:
    """Return pieces in a row, each text or `Html`."""
    return Html("".join(piece if isinstance(piece, Html) else escape(piece) for piece in pieces if piece is not None))


def items(lines: Iterable[str], **attributes: str) -> Html | None:
    """Return a list of lines; None where there are none."""
    lines = list(lines)
    return element("ul", *(element("li", line) for line in lines), **attributes) if lines else None
