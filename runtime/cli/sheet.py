"""The contact sheet of an avatar, with what a waiting person sees meanwhile."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from marotte.runtime.avatar import Avatar


def draw_sheet(
    avatar: "Avatar",
    renderer: str | None = None,
    *,
    size: int,
    framing: str = "head",
    variant: str | None = None,
) -> "Image.Image":
    """Return the sheet: every pose, or a few telling ones where a network draws each for seconds.

    renderer: back end by name, None for the avatar's own. Raises MarotteError where it cannot be drawn.
    """
    from marotte.runtime.avatar import NO_BASIS
    from marotte.runtime.cli.progress import FrameBar, announce_slow
    from marotte.runtime.contact_sheet import TELLING, contact_sheet
    from marotte.runtime.registry import create

    name = renderer or avatar.renderer
    drawing = create("renderer", name)
    with announce_slow("preparing the renderer"):
        drawing.warm_up()
    extra: dict[str, Any] = {"variant": variant} if variant else {}
    slow = bool(avatar.network) and name == avatar.renderer and avatar.basis != NO_BASIS
    bar = FrameBar("contact sheet", quiet=not slow)
    try:
        return contact_sheet(
            avatar, drawing, size=size, framing=framing, extra=extra, chosen=TELLING if slow else None, progress=bar
        )
    finally:
        bar.close()
