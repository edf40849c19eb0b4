"""The arguments of the driver viseme, for every command that drives."""

import argparse

_NAMES = ("articulation", "smile", "happy", "sad")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe them."""
    group = parser.add_argument_group("the driver viseme")
    group.add_argument("--articulation", type=float, metavar="0..2", help="how far the mouth moves, 1: natural")
    group.add_argument("--smile", type=float, metavar="0..1", help="while it speaks")
    group.add_argument("--happy", type=float, metavar="0..1", help="a mood of the whole face")
    group.add_argument("--sad", type=float, metavar="0..1", help="another")


def chosen(arguments: argparse.Namespace) -> dict[str, float]:
    """Return what was given, as options of the driver."""
    given = ((name, getattr(arguments, name)) for name in _NAMES)
    return {name: value for name, value in given if value is not None}
