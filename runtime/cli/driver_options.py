"""The arguments of single drivers, for every command that drives."""

import argparse
from typing import Any

_NAMES = ("articulation", "smile", "happy", "sad", "style", "latency", "precision", "compile", "weights")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe them."""
    group = parser.add_argument_group("the driver viseme")
    group.add_argument("--articulation", type=float, metavar="0..2", help="how far the mouth moves, 1: natural")
    group.add_argument("--smile", type=float, metavar="0..1", help="while it speaks")
    group.add_argument("--happy", type=float, metavar="0..1", help="a mood of the whole face")
    group.add_argument("--sad", type=float, metavar="0..1", help="another")
    group = parser.add_argument_group("the driver artalk")
    group.add_argument("--style", metavar="NAME|FILE", help="a style clip: happy_0, or a .pt of [50, 106]")
    group.add_argument("--latency", choices=("exact", "low"), help="low: frames before their chunk is full (CUDA)")
    group.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="of its transformers (float32)")
    group.add_argument("--compile", action="store_true", default=None, help="torch.compile: slow to start, then faster")
    group.add_argument("--weights", metavar="FILE", help="a driver's network in place of the usual one")


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, as options of the driver, which refuses what it does not know."""
    given = ((name, getattr(arguments, name)) for name in _NAMES)
    return {name: value for name, value in given if value is not None}
