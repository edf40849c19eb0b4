"""marotte avatars: list the avatars that are here, look at one closely."""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="name them, with what draws them")
    listing.set_defaults(act=_list)
    show = actions.add_parser("show", help="print what one's avatar.toml says")
    show.add_argument("avatar", help="name or folder")
    show.set_defaults(act=_show)
    export = actions.add_parser("export", help="write one's Gaussians as a published SplattingAvatar folder")
    export.add_argument("avatar", help="name or folder")
    export.add_argument("-o", "--out", required=True, help="new folder to write")
    export.add_argument("--variant", help="one of the avatar's variants")
    export.set_defaults(act=_export)
    check = actions.add_parser("check", help="check one's files and draw a contact sheet of all that it can do")
    check.add_argument("avatar", help="name or folder")
    check.add_argument("-o", "--out", default="contact-sheet.png", help="picture to write (contact-sheet.png)")
    check.add_argument("--size", type=int, default=192, help="pixels of each picture (192)")
    check.add_argument("--framing", default="head", help="head or bust (head)")
    check.add_argument("--renderer", help="back end that draws it (the avatar's own)")
    check.add_argument("--variant", help="one of the avatar's variants")
    check.set_defaults(act=_check)


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked."""
    from marotte.runtime.compiled import prepare

    prepare()
    arguments.act(arguments)


def _list(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.avatar import avatar_folders, load_avatar

    for name, folder in avatar_folders().items():
        try:
            avatar = load_avatar(folder)
            print(f"{name:<16} {avatar.renderer:<18} {avatar.basis:<10} {avatar.title}")
        except MarotteError as error:
            print(f"{name:<16} cannot be used: {error}")


def _show(arguments: argparse.Namespace) -> None:
    from marotte.runtime.avatar import load_avatar

    avatar = load_avatar(arguments.avatar)
    print(f"folder           {avatar.path}\nsha256           {avatar.sha256}")
    print((avatar.path / "avatar.toml").read_text(encoding="utf-8").rstrip())


def _export(arguments: argparse.Namespace) -> None:
    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.splats import export_avatar

    print(export_avatar(load_avatar(arguments.avatar), arguments.out, arguments.variant))


def _check(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.cli.progress import announce_slow
    from marotte.runtime.contact_sheet import contact_sheet
    from marotte.runtime.offline import parse_size
    from marotte.runtime.registry import create

    avatar = load_avatar(arguments.avatar)
    size, _ = parse_size(arguments.size)
    renderer = create("renderer", arguments.renderer or avatar.renderer)
    with announce_slow("preparing the renderer"):
        renderer.warm_up()
    extra = {"variant": arguments.variant} if arguments.variant else {}
    sheet = contact_sheet(avatar, renderer, size=size, framing=arguments.framing, extra=extra)
    try:
        sheet.save(arguments.out)
    except (OSError, ValueError) as error:
        raise MarotteError(f"cannot write {arguments.out}: {error}") from error
    print(f"{avatar.name}: {len(avatar.files)} files as described; {arguments.out}", file=sys.stdout)
