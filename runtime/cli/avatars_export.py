"""marotte avatars export: an avatar's Gaussians, or its tracked picture, for other programs."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marotte.runtime.avatar import Avatar
    from marotte.runtime.head import HeadState

_FORMATS = ("splatting-avatar", "3dgs", "npz", "gagavatar", "gaussian-talker")


def add_arguments(actions: Any) -> None:
    """Add `export` to what `parser.add_subparsers` returned; it sets `act`."""
    parser = actions.add_parser("export", help="write one's Gaussians, or its tracked picture, for other programs")
    parser.set_defaults(act=_export)
    parser.add_argument("avatar", help="name or folder")
    parser.add_argument("-o", "--out", required=True, help="new folder, .ply, .npz or .pt to write")
    parser.add_argument(
        "--to",
        choices=_FORMATS,
        help="a published SplattingAvatar folder, one moment as a plain 3DGS .ply, our npz, GAGAvatar's "
        "tracked.pt, or GaussianTalker's folders (what it came as)",
    )
    parser.add_argument("--variant", help="one of the avatar's variants")
    moment = parser.add_argument_group("the moment of a 3dgs .ply (the face at rest)")
    moment.add_argument("--motion", metavar="FILE", help="take it from a motion file")
    moment.add_argument("--frame", type=int, metavar="N", help="which of its frames, from 0 (0)")
    moment.add_argument("--expression", metavar="i=v,...", help="coefficients by number, or ARKit's actions by name")
    moment.add_argument("--jaw", type=float, metavar="DEG", help="open the jaw by so many degrees")
    moment.add_argument("--unit", type=float, help="world units a metre in the file (the avatar's own)")
    moment.add_argument("--sh-degree", type=int, metavar="N", help="of the file's colours (3, which all viewers read)")


def _export(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.avatars.export import PLAIN_DEGREE, export_npz, export_plain, export_published, export_tracked

    avatar = load_avatar(arguments.avatar)
    kind = arguments.to or (avatar.renderer if avatar.renderer in _FORMATS else _FORMATS[0])
    if kind != "3dgs":
        for name in ("motion", "frame", "expression", "jaw", "unit", "sh_degree"):
            if getattr(arguments, name) is not None:
                raise MarotteError(f"--{name.replace('_', '-')} is for --to 3dgs: {kind} holds no one moment")
    if arguments.variant and kind in ("gagavatar", "gaussian-talker"):
        raise MarotteError(f"--variant {arguments.variant}: {kind} has no variants")
    if kind == "gagavatar":
        print(export_tracked(avatar, arguments.out))
    elif kind == "gaussian-talker":
        from marotte.runtime.avatars.talker import export_talker

        print(export_talker(avatar, arguments.out))
    elif kind == "splatting-avatar":
        print(export_published(avatar, arguments.out, arguments.variant))
    elif kind == "npz":
        path, notes = export_npz(avatar, arguments.out, arguments.variant)
        print("; ".join([str(path), *notes]))
    else:
        degree = PLAIN_DEGREE if arguments.sh_degree is None else arguments.sh_degree
        count = export_plain(
            avatar,
            arguments.out,
            _state(avatar, arguments),
            variant=arguments.variant,
            world_unit=arguments.unit,
            degree=degree,
        )
        unit = avatar.unit if arguments.unit is None else arguments.unit
        print(f"{arguments.out}: {count} Gaussians, SH degree {degree}, {unit:g} units a metre, y up, face to +z")


def _state(avatar: "Avatar", arguments: argparse.Namespace) -> "HeadState":
    """Return the head of the moment that is asked for: one frame."""
    from marotte.errors import MarotteError
    from marotte.runtime.avatars.moment import moment
    from marotte.runtime.motion_files import read_motion

    motion = None
    if arguments.motion is not None:
        motion = read_motion(arguments.motion).motion
    elif arguments.frame is not None:
        raise MarotteError("--frame is of a motion file: give --motion FILE too")
    return moment(
        avatar, motion, arguments.frame or 0, expression=arguments.expression or "", jaw_degrees=arguments.jaw
    )
