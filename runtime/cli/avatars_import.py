"""marotte avatars import: make an avatar of what another system trained or tracked."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marotte.runtime.avatar import Avatar
    from marotte.runtime.avatars.given import Given, Imported

_SHEET = "contact-sheet.png"
_SHEET_SIZE = 192


def add_arguments(actions: Any) -> None:
    """Add `import` to what `parser.add_subparsers` returned; it sets `act`."""
    parser = actions.add_parser("import", help="make an avatar of a SplattingAvatar, GAGAvatar or GaussianTalker")
    parser.set_defaults(act=_import)
    parser.add_argument(
        "path",
        metavar="PATH",
        help="SplattingAvatar's or GaussianTalker's model folder, or GAGAvatar's tracked.pt (GAGAvatar/tracked.pt is "
        "that of `marotte assets`)",
    )
    parser.add_argument(
        "--as",
        dest="kind",
        choices=("splatting-avatar", "gagavatar", "gaussian-talker"),
        help="what PATH is (by its content); metrical-tracker's frames can be taken as gagavatar (experimental)",
    )
    parser.add_argument("--name", help="what to call it (made of the folder's name)")
    parser.add_argument("--title", help="what people read")
    parser.add_argument("--replace", action="store_true", help="in place of an avatar of that name")
    parser.add_argument(
        "--store", metavar="DIR", help="where avatars lie ($MAROTTE_AVATARS, or the user's data folder)"
    )
    needed = parser.add_argument_group("what it was trained with (looked for near PATH)")
    needed.add_argument(
        "--flame", metavar="FILE", help="FLAME's model, generic_model.pkl (also $MAROTTE_FLAME and `marotte assets`)"
    )
    needed.add_argument("--basis", choices=("flame2020", "flame2023"), help="FLAME's version (by the file's name)")
    needed.add_argument("--data", metavar="DIR", help="the data set or recording; of tracked frames, the pictures")
    needed.add_argument(
        "--identity",
        metavar="FILE",
        help="shape coefficients: .npy, .npz, .pt, a tracker's folder, DECA, EMOCA, MICA; `canonical` takes them from "
        "the mesh (the data set's)",
    )
    needed.add_argument("--config", nargs="+", default=(), metavar="FILE", help="settings; later ones override")
    needed.add_argument("--unit", type=float, help="world units a metre (4, as published)")
    needed.add_argument("--landmarks", nargs="+", default=(), metavar="FILE", help="landmark embeddings of FLAME")
    needed.add_argument("--masks", metavar="FILE", help="FLAME_masks.pkl")
    needed.add_argument("--eyelids", nargs=2, default=(), metavar=("LEFT", "RIGHT"), help="metrical-tracker's lids")
    one = parser.add_argument_group("of GAGAvatar and GaussianTalker")
    one.add_argument("--entry", metavar="NAME", help="which tracked picture or frame, such as 11.jpg")
    one.add_argument("--mask", metavar="FILE", help="of a tracked frame: white where the person is (looked for)")
    one.add_argument("--network", metavar="FILE", help="checkpoint that draws it (the one of `marotte assets`)")
    one.add_argument("--features", metavar="SPACE", help="audio features that it was trained on")
    one.add_argument("--frames", choices=("val", "train", "all"), help="which recorded frames it moves by")
    about = parser.add_argument_group("what to record (asked for on a terminal)")
    about.add_argument("--subject", metavar="TEXT", help="whom it shows")
    about.add_argument("--consent", metavar="TEXT", help="what that person agreed to, and where that is kept")
    about.add_argument("--licence", metavar="TEXT", help="under what the trained avatar may be used")
    parser.add_argument("--sheet", metavar="OUT.png", help="write the contact sheet here, beside the avatar's own")
    parser.add_argument("--renderer-check", choices=("on", "off"), default="on", help="off: draw no contact sheet (on)")


def _import(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.avatars.companions import FlameMissing
    from marotte.runtime.avatars.given import NOT_RECORDED
    from marotte.runtime.whole_file import check_place, written_whole

    if arguments.sheet:
        check_place(Path(arguments.sheet))
        if Path(arguments.sheet).suffix.lower() != ".png":
            raise MarotteError(f"--sheet {arguments.sheet} is a PNG: name a file that ends in .png")
        if arguments.renderer_check == "off":
            raise MarotteError("--sheet is drawn by the renderer: leave out --renderer-check off")
    try:
        done = _run(arguments)
    except FlameMissing as missing:
        arguments.flame = _ask(f"{missing}\nFLAME's file")
        if arguments.flame is None:
            raise
        done = _run(arguments)
    for note in done.notes:
        print(f"marotte: note: {note}", file=sys.stderr)
    for name in ("subject", "consent"):
        if getattr(done.avatar, name) == NOT_RECORDED:
            print(f"marotte: note: {name} is not recorded: --{name} TEXT, or edit avatar.toml", file=sys.stderr)
    for name, text in done.facts:
        print(f"{name:<16} {text}")
    if arguments.sheet:
        with written_whole(Path(arguments.sheet)) as part:
            shutil.copyfile(done.avatar.path / _SHEET, part)
    if (done.avatar.path / _SHEET).is_file():
        print(f"{'contact sheet':<16} {arguments.sheet or done.avatar.path / _SHEET}")
    there = done.avatar.name if arguments.store is None else done.avatar.path
    print(f"{'render it':<16} marotte render SOUND.wav -o OUT.mp4 --avatar {there}")


def _run(arguments: argparse.Namespace) -> "Imported":
    from marotte.runtime.avatars.kinds import import_avatar

    def look(avatar: "Avatar") -> None:
        _look(avatar, needed=bool(arguments.sheet))

    return import_avatar(
        arguments.path,
        _given(arguments),
        kind=arguments.kind,
        store=arguments.store,
        look=look if arguments.renderer_check == "on" else None,
    )


def _given(arguments: argparse.Namespace) -> "Given":
    from marotte.runtime.avatars.given import Given

    def path(name: str | None) -> Path | None:
        return Path(name) if name else None

    return Given(
        name=arguments.name,
        title=arguments.title,
        flame=path(arguments.flame),
        landmarks=tuple(map(Path, arguments.landmarks)),
        masks=path(arguments.masks),
        eyelids=tuple(map(Path, arguments.eyelids)),
        data=path(arguments.data),
        identity=arguments.identity,
        configs=tuple(map(Path, arguments.config)),
        basis=arguments.basis,
        entry=arguments.entry,
        mask=path(arguments.mask),
        network=path(arguments.network),
        features=arguments.features,
        frames=arguments.frames,
        **({} if arguments.unit is None else {"unit": arguments.unit}),
        subject=arguments.subject,
        consent=arguments.consent,
        licence=arguments.licence,
        replace=arguments.replace,
        ask=_ask,
    )


def _look(avatar: "Avatar", needed: bool) -> None:
    """Draw the contact sheet of an avatar that is about to get its name.

    needed: the sheet was asked for. Without it an avatar whose network is not here yet, or that only sound moves, goes
    without; one that is drawn from its own files alone must be drawn.
    """
    from marotte.errors import MarotteError
    from marotte.runtime.cli.sheet import draw_sheet

    try:
        draw_sheet(avatar, size=_SHEET_SIZE).save(avatar.path / _SHEET)
    except MarotteError as error:
        if needed or not avatar.network:
            raise
        print(f"marotte: note: no contact sheet: {error}", file=sys.stderr)


def _ask(question: str) -> str | None:
    """Return what a person at a terminal answers; None without a terminal or an answer."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(f"{question}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or None
