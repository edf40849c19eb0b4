"""marotte avatars: import trained avatars, list those that are here, look at one closely, export or measure it."""

import argparse

from marotte.runtime.cli import avatars_export, avatars_import, avatars_measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    avatars_import.add_arguments(actions)
    listing = actions.add_parser("list", help="name them, with what draws them")
    listing.set_defaults(act=_list)
    show = actions.add_parser("show", help="print what one is, and its avatar.toml")
    show.add_argument("avatar", help="name or folder")
    show.set_defaults(act=_show)
    check = actions.add_parser("check", help="check one's files and draw a contact sheet of all that it can do")
    check.add_argument("avatar", help="name or folder")
    check.add_argument("-o", "--out", default="contact-sheet.png", help="picture to write (contact-sheet.png)")
    check.add_argument("--size", type=int, default=192, help="pixels of each picture (192)")
    check.add_argument("--framing", default="head", help="head or bust (head)")
    check.add_argument("--renderer", help="back end that draws it (the avatar's own)")
    check.add_argument("--variant", help="one of the avatar's variants")
    check.set_defaults(act=_check)
    avatars_export.add_arguments(actions)
    avatars_measure.add_arguments(actions)
    remove = actions.add_parser("remove", help="delete an imported avatar")
    remove.add_argument("avatar", help="its name")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.add_argument("--store", metavar="DIR", help="where it lies ($MAROTTE_AVATARS, or the user's data folder)")
    remove.set_defaults(act=_remove)


def run(arguments: argparse.Namespace) -> int | None:
    """Do what was asked."""
    from marotte.runtime.compiled import prepare

    prepare()
    code: int | None = arguments.act(arguments)
    return code


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
    from marotte.runtime.avatars.check import summary

    avatar = load_avatar(arguments.avatar)
    print(f"{avatar.name}: {avatar.title}" if avatar.title else avatar.name)
    for name, text in summary(avatar):
        print(f"{name:<16} {text}")
    print()
    print((avatar.path / "avatar.toml").read_text(encoding="utf-8").rstrip())


def _check(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.avatars.check import check_avatar
    from marotte.runtime.cli.sheet import draw_sheet
    from marotte.runtime.offline import parse_size

    avatar = load_avatar(arguments.avatar)
    size, _ = parse_size(arguments.size)
    found = check_avatar(avatar)
    try:
        sheet = draw_sheet(avatar, arguments.renderer, size=size, framing=arguments.framing, variant=arguments.variant)
    except MarotteError as error:
        if not avatar.network:
            raise
        print(f"{avatar.name}: {'; '.join([*found, f'no contact sheet: {error}'])}")
        return
    try:
        sheet.save(arguments.out)
    except (OSError, ValueError) as error:
        raise MarotteError(f"cannot write {arguments.out}: {error}") from error
    print(f"{avatar.name}: {'; '.join([*found, arguments.out])}")


def _remove(arguments: argparse.Namespace) -> None:
    import sys

    from marotte.errors import MarotteError
    from marotte.runtime.avatars.store import remove_avatar

    if not arguments.yes:
        if not sys.stdin.isatty():
            raise MarotteError(f"removing {arguments.avatar} cannot be undone: say --yes")
        print(f"remove the avatar {arguments.avatar} for good? (yes) ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise MarotteError(f"{arguments.avatar} stays")
    print(f"removed {remove_avatar(arguments.avatar, arguments.store)}")
