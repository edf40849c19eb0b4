"""What a camera format is to the registry: how it is recognised, read and written, and what it cannot hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marotte.runtime.cameras.track import CameraTrack

# read(path, options) -> CameraTrack. options, all of them maybe absent: `size` (width, height) of the pictures,
# `video` (width, height) that they were cut from, `bbox` a path to the tracker's bbox.pt, `fps`.
Read = Callable[[Path, Mapping[str, Any]], CameraTrack]
# write(track, path): the track is in any unit and fits (`losses` gave nothing, or the user accepts it).
Write = Callable[[CameraTrack, Path], None]


@dataclass(frozen=True)
class Format:
    """One published way to store cameras.

    name: as users type it (`insta`, `gaussian-talker`). title: for people. recognises: whether a file or folder is
    of this format, by content, cheaply, and without raising. losses: one line for each thing of a track that the
    format cannot hold (`principal point: up to 11.4 px from the centre`), with its size. is_folder: whether `path`
    is a folder. unit: the world units per FLAME unit that it wants, None for any.
    """

    name: str
    title: str
    recognises: Callable[[Path], bool]
    read: Read
    write: Write
    losses: Callable[[CameraTrack], list[str]]
    is_folder: bool = False
    unit: float | None = None
