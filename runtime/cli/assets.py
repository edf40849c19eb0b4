"""marotte assets: published files that are not shipped: list, fetch, verify, add them."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marotte.runtime.assets import Asset, Finding, Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="say what is known, what is here, who needs it and its licence")
    listing.set_defaults(act=_list)
    fetching = actions.add_parser("fetch", help="download from Hugging Face, resuming, verified by hash")
    fetching.add_argument("names", nargs="*", metavar="NAME", help="assets, or artalk, styles, gagavatar, all (artalk)")
    fetching.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and notes")
    fetching.set_defaults(act=_fetch)
    verifying = actions.add_parser("verify", help="hash what is here; exit code 2 where something is wrong")
    verifying.add_argument("names", nargs="*", metavar="NAME", help="assets or groups (all that is here)")
    verifying.set_defaults(act=_verify)
    adding = actions.add_parser("add", help="take files that are on this machine, recognised by their content")
    adding.add_argument("paths", nargs="+", metavar="PATH", help="files, or folders to look through")
    adding.add_argument("--as", dest="name", metavar="NAME", help="asset that a FLAME model is to be")
    adding.add_argument("--link", action="store_true", help="link to the files instead of copying them")
    adding.set_defaults(act=_add)


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked."""
    arguments.act(arguments)


def _list(_: argparse.Namespace) -> None:
    from marotte.runtime.assets import catalogue, examine, store

    assets = list(catalogue().values())
    print(f"in {store()}")
    for group in dict.fromkeys(asset.group for asset in assets):
        inside = [asset for asset in assets if asset.group == group]
        print(f"\n{group}: {inside[0].licence}")
        for asset in inside:
            found = examine(asset)
            print(f"  {asset.name:<32} {_size(asset):>9}  {_told(found):<10}  {asset.needed_by}".rstrip())
    print(
        "\nwhat is missing: `marotte assets fetch NAME|GROUP`; without a network, and for FLAME: "
        "`marotte assets add PATH`"
    )


def _fetch(arguments: argparse.Namespace) -> None:
    from marotte.runtime.asset_fetch import fetch
    from marotte.runtime.assets import examine, select

    chosen = select(arguments.names or ["artalk"])
    by_name = set(arguments.names)
    fetched = []
    for asset in chosen:
        if not asset.repo and asset.name not in by_name and asset.group not in by_name:
            if examine(asset).state == "missing":
                print(f"{asset.name:<32} not fetched: {asset.way}")
            continue
        with _bar(f"hashing {asset.name}", quiet=arguments.quiet) as progress:
            path = fetch(asset, quiet=arguments.quiet, progress=progress)
        fetched.append(asset)
        if not arguments.quiet:
            print(f"{asset.name:<32} {path}")
    if not arguments.quiet:
        _print_licences(fetched)
        if any(asset.group in ("artalk", "gagavatar") for asset in fetched):
            print("FLAME is not fetched; what draws with it asks for it: `marotte assets list`")


def _verify(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.assets import examine, select

    wrong = []
    for asset in select(arguments.names or ["all"]):
        with _bar(f"hashing {asset.name}") as progress:
            found = examine(asset, hashed=True, again=True, progress=progress)
        if found.state == "missing" and not arguments.names:
            continue
        print(f"{asset.name:<32} {_told(found)}")
        if found.state != "present":
            wrong.append(found)
    if wrong:
        told = ", ".join(f"{found.path} {found.why or 'is missing'}" for found in wrong)
        names = " ".join(found.asset.name for found in wrong if found.asset.repo)
        mend = f"`marotte assets fetch {names}`" if names else "`marotte assets add PATH`"
        raise MarotteError(f"{told}: {mend} puts {'it' if len(wrong) == 1 else 'them'} right")


def _add(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.asset_import import add

    with _bar("reading") as progress:
        done = add(arguments.paths, name=arguments.name, link=arguments.link, progress=progress)
    for asset, path in done.added:
        print(f"{asset.name:<32} from {path}")
    if done.others:
        print(f"{done.others} other files were left where they are")
    _print_licences([asset for asset, _ in done.added])
    if done.refused:
        raise MarotteError("; ".join(done.refused))
    if not done.added:
        raise MarotteError(f"nothing in {', '.join(arguments.paths)} is a known asset: see `marotte assets list`")


def _print_licences(assets: "list[Asset]") -> None:
    for licence in dict.fromkeys(asset.licence for asset in assets):
        print(f"licence: {licence}")


def _told(found: "Finding") -> str:
    return f"wrong: {found.why}" if found.state == "wrong" else found.state


def _size(asset: "Asset") -> str:
    if asset.bytes is None:
        return ""
    return f"{asset.bytes / 1e6:.1f} MB" if asset.bytes >= 1e5 else f"{asset.bytes} B"


@contextmanager
def _bar(label: str, *, quiet: bool = False) -> "Iterator[Progress]":
    """Yield what counts bytes; shown after a second, and only on a terminal."""
    from tqdm import tqdm

    disable = True if quiet else None
    with tqdm(desc=label, unit="B", unit_scale=True, delay=1, disable=disable, leave=False) as bar:
        yield lambda count: bar.update(count) and None
