"""marotte cameras: read, convert, crop, draw and check cameras of every published format."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marotte.runtime.cli import doctor

if TYPE_CHECKING:
    from marotte.runtime.cameras.convert import Plan
    from marotte.runtime.cameras.track import CameraTrack

_ORIGINAL = "original"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = _action(actions, "show", _show, "print what cameras are in a file or folder")
    _add_source(show)
    show.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_convert(_action(actions, "convert", _convert, "write cameras in another format, with their pictures"))
    _add_crop(_action(actions, "crop", _crop, "make metrical-tracker's crop of a video or frames again, exactly"))
    _add_turntable(_action(actions, "turntable", _turntable, "write cameras on a circle round the head"))
    plot = _action(actions, "plot", _plot, "draw the rig in 3D and what its pictures show of the video")
    _add_source(plot)
    plot.add_argument("-o", "--out", default="rig.png", metavar="FILE.png", help="picture to write (rig.png)")
    doctor.add_arguments(_action(actions, "doctor", doctor.run, "say what is wrong with a camera file"))


def run(arguments: argparse.Namespace) -> int | None:
    """Do what was asked."""
    code: int | None = arguments.act(arguments)
    return code


def _action(actions: Any, name: str, act: Callable[..., int | None], summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}."
    )
    parser.set_defaults(act=act)
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="camera file, or folder of them")
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser, sizes: bool = True) -> None:
    parser.add_argument("--format", metavar="FORMAT", help="what it is, where its content does not decide")
    parser.add_argument("--bbox", metavar="FILE", help="metrical-tracker's bbox.pt (found where the tracker puts it)")
    parser.add_argument("--video", metavar="WxH", help="size of the video that the pictures were cut from")
    parser.add_argument("--fps", help="frame rate, where the format does not say it")
    if sizes:
        parser.add_argument("--size", metavar="WxH", help="size of the pictures, where the format does not say it")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="IN", help="camera file, or folder of them")
    parser.add_argument("out", metavar="OUT", help="file or folder to write")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(_formats())}")
    parser.add_argument("--allow-loss", action="store_true", help="write although the format cannot hold everything")
    parser.add_argument(
        "--images",
        nargs="?",
        const=True,
        metavar="PLACE",
        help="write the pictures too, as the new cameras see them; PLACE: their folder, or the video",
    )
    parser.add_argument("--first", type=int, metavar="N", help="number of the picture that is the first camera's")
    parser.add_argument("--fill", action="store_true", help="no black borders: cut the pictures' edges in their place")
    parser.add_argument("--space", choices=("video", "tracked"), help="cameras of the whole video, or of its crop")
    parser.add_argument("--size", metavar="512", help="size of the new pictures")
    parser.add_argument("--in-size", metavar="WxH", help="size of the pictures as they are, where the format lacks it")
    parser.add_argument(
        "--distance", type=float, help="scale the world so that the cameras are as far from its origin, on the mean"
    )
    _add_reading(parser, sizes=False)


def _add_crop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", metavar="VIDEO_OR_FRAMES", help="the video, or a folder of its frames")
    parser.add_argument("out", metavar="OUT", help="new folder for the PNG files")
    box = parser.add_mutually_exclusive_group()
    box.add_argument("--bbox", metavar="FILE", help="the tracker's bbox.pt (the one beside the video)")
    box.add_argument("--landmarks", metavar="FILE", help=".npy or .npz with landmarks [N, 2] to make the box of")
    parser.add_argument(
        "--size", default="512", metavar="512|768|1024", help=f"pixels, or `{_ORIGINAL}` for the whole picture (512)"
    )
    parser.add_argument("--cameras", metavar="PATH", help="cameras of these pictures, whole or cropped, to move along")
    parser.add_argument("--to", metavar="FORMAT", help="what to write those in (what they are in)")
    parser.add_argument("--allow-loss", action="store_true", help="write although the format cannot hold everything")


def _add_turntable(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="file or folder to write")
    parser.add_argument("--to", default="facelift", metavar="FORMAT", help="what to write (facelift)")
    parser.add_argument("--views", type=int, default=8, help="number of cameras (8)")
    parser.add_argument("--distance", type=float, default=2.7, help="from the origin, in world units (2.7)")
    parser.add_argument("--fov", type=float, default=50.0, help="horizontal field of view in degrees (50)")
    parser.add_argument("--elevation", type=float, default=0.0, help="degrees above the horizon (0)")
    parser.add_argument("--size", default="512", metavar="512", help="size of the pictures (512)")
    parser.add_argument(
        "--flame-axes", action="store_true", help="y up and the face towards z, in place of FaceLift's z up and -y"
    )
    parser.add_argument("--allow-loss", action="store_true", help="write although the format cannot hold everything")


def _formats() -> tuple[str, ...]:
    """The names of the formats, without importing what reads them."""
    return (
        "metrical",
        "insta",
        "nerf",
        "imavatar",
        "splatting-avatar",
        "3dgs",
        "gaussian-talker",
        "gagavatar",
        "facelift",
        "mammal",
        "pytorch3d",
    )


def _size(text: str | None) -> tuple[int, int] | None:
    from marotte.runtime.offline import parse_size

    return None if text is None else parse_size(text)


def _read(arguments: argparse.Namespace, size: str | None) -> "CameraTrack":
    from marotte.runtime.cameras import read_cameras

    options = {"size": _size(size), "video": _size(arguments.video), "bbox": arguments.bbox, "fps": arguments.fps}
    given = {name: value for name, value in options.items() if value is not None}
    return read_cameras(arguments.path, arguments.format, **given)


def _show(arguments: argparse.Namespace) -> None:
    from marotte.runtime.cameras import load_format
    from marotte.runtime.cameras.summary import rows, summarise

    track = _read(arguments, arguments.size)
    if arguments.json:
        import json
        from dataclasses import asdict

        print(json.dumps({"format": track.format, "unit": track.unit, **asdict(summarise(track))}, indent=2))
        return
    for name, value in rows(track, load_format(track.format).title):
        print(f"{name:<16} {value}")


def _plot(arguments: argparse.Namespace) -> None:
    from marotte.runtime.cameras.plot import plot

    plot(_read(arguments, arguments.size), arguments.out)
    print(f"plot: {arguments.out}")


def _convert(arguments: argparse.Namespace) -> None:
    from marotte.runtime.cameras.convert import execute, plan
    from marotte.runtime.cli.progress import FrameBar

    track = _read(arguments, arguments.in_size)
    planned = plan(
        track,
        arguments.to,
        space=arguments.space,
        size=_size(arguments.size),
        bbox=arguments.bbox,
        distance=arguments.distance,
        images=bool(arguments.images),
        fill=arguments.fill,
    )
    for line in _told(planned):
        print(line, file=sys.stderr)
    bar = FrameBar("pictures", quiet=not arguments.images)
    try:
        count = execute(
            planned,
            arguments.path,
            arguments.out,
            allow_loss=arguments.allow_loss,
            images=arguments.images or False,
            first=arguments.first,
            progress=bar,
        )
    finally:
        bar.close()
    pictures = f", {count} pictures" if count else ""
    print(f"{arguments.out}: {len(track)} cameras, {track.format} to {arguments.to}{pictures}")


def _told(planned: "Plan") -> list[str]:
    """Return what a user should know before anything is written."""
    lines = [f"note: {note}" for note in planned.target.notes]
    if planned.moves_pictures:
        to_new = planned.map
        lines.append(
            f"pictures: x' = {to_new.scale_x:.6g} x {to_new.shift_x:+.6g}, y' = {to_new.scale_y:.6g} y"
            f" {to_new.shift_y:+.6g}"
        )
    if planned.kept < 1 or planned.empty > 0:
        lines.append(
            f"pictures: at least {100 * planned.kept:.1f} % of each is kept, up to "
            f"{100 * planned.empty:.1f} % of a new one is black"
        )
    return [*lines, *(f"loses: {loss}" for loss in planned.losses)]


def _crop(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.cameras.cut import cut
    from marotte.runtime.cli.progress import FrameBar

    whole = arguments.size == _ORIGINAL
    size = None if whole else _size(arguments.size)
    if size is not None and size[0] != size[1]:
        raise MarotteError(f"--size {arguments.size}: the tracker's crop is square, give 512, 768, 1024 or {_ORIGINAL}")
    bar = FrameBar("cut")
    try:
        done = cut(
            arguments.pictures,
            arguments.out,
            size=size[0] if size else None,
            bbox=arguments.bbox,
            landmarks=arguments.landmarks,
            cameras=arguments.cameras,
            to=arguments.to,
            allow_loss=arguments.allow_loss,
            progress=bar,
        )
    finally:
        bar.close()
    for loss in done.losses:
        print(f"lost: {loss}", file=sys.stderr)
    if done.crop is not None:
        left, right, top, bottom = done.crop.box
        print(f"box [{left}, {right}, {top}, {bottom}], padded by {list(done.crop.padding)}, to {done.crop.size[0]} px")
    cameras = f", {len(done.track)} cameras" if done.track is not None else ""
    print(f"{arguments.out}: {done.count} pictures{cameras}")


def _turntable(arguments: argparse.Namespace) -> None:
    from marotte.runtime.cameras import write_cameras
    from marotte.runtime.cameras.formats.facelift import turntable

    size = _size(arguments.size)
    assert size is not None
    track = turntable(
        arguments.fov,
        arguments.views,
        *size,
        arguments.distance,
        arguments.elevation,
        flame_axes=arguments.flame_axes,
    )
    for loss in write_cameras(track, Path(arguments.out), arguments.to, allow_loss=arguments.allow_loss):
        print(f"lost: {loss}", file=sys.stderr)
    print(f"{arguments.out}: {len(track)} cameras")
