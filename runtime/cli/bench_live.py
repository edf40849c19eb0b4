"""marotte bench --live: what the viewers of a live server get, and what that costs."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marotte.runtime.bench_live import Figure, LiveRequest

# Those of the arguments that mean nothing without --live.
_OWN = ("seconds", "turns", "sessions", "fps", "hours")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments that --live brings."""
    own = parser.add_argument_group(
        "live",
        "measured with a server of its own and its page in headless Chromium; --gaussians, --sizes and --driver too",
    )
    own.add_argument("--live", action="store_true", help="measure a live server")
    own.add_argument("--seconds", type=float, metavar="S", help="of each film (10)")
    own.add_argument("--turns", type=int, metavar="N", help="turns and interruptions that are timed (10)")
    own.add_argument("--sessions", type=int, metavar="N", help="opened and closed one after the other (23; 0: none)")
    own.add_argument("--fps", help="frames a second (60 for 20000 Gaussians, 30 for 60000)")
    own.add_argument("--hours", type=float, metavar="H", help="simulated, with a bad source (0)")


def check_unused(arguments: argparse.Namespace) -> None:
    """Raise MarotteError where an argument was given that needs --live."""
    from marotte.errors import MarotteError

    for name in _OWN:
        if getattr(arguments, name) is not None:
            raise MarotteError(f"--{name} is for live servers alone: add --live")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table as it grows."""
    from marotte.errors import MarotteError
    from marotte.runtime.bench_live import measure_live, report

    results = []
    for request in requests(arguments):
        title = f"live, {request.gaussians} Gaussians, {request.size}x{request.size}, {float(request.rate):g} a second"
        print(f"{title:<66}{'':>10}  {'':<16}target; w: wall time", flush=True)
        results.append((request, measure_live(request, _print)))
    if arguments.json:
        try:
            Path(arguments.json).write_text(json.dumps(report(results), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise MarotteError(f"cannot write {arguments.json}: {error.strerror or error}") from error


def requests(arguments: argparse.Namespace) -> "list[LiveRequest]":
    """Return what is to be measured: one for each number of Gaussians and size. Raises MarotteError."""
    from marotte.errors import MarotteError
    from marotte.runtime.bench_live import KINDS, LiveRequest
    from marotte.runtime.clock import as_fps

    given = {name: getattr(arguments, name) for name in ("seconds", "turns", "sessions", "hours")}
    for name, least, most in (("seconds", 1, 3600), ("turns", 1, 1000), ("sessions", 0, 10000), ("hours", 0, 100)):
        value = given[name]
        if value is not None and not least <= value <= most:
            raise MarotteError(f"--{name} {value:g} is not between {least} and {most}")
    if given["sessions"] == 1:
        raise MarotteError("--sessions 1 leaves nothing to compare: give 0 for none, or 2 and more")
    chosen = {name: value for name, value in given.items() if value is not None}
    found = []
    for gaussians in _numbers("gaussians", arguments.gaussians):
        if gaussians not in KINDS:
            known = " and ".join(map(str, KINDS))
            raise MarotteError(f"--gaussians {gaussians}: the demo avatar has {known}")
        for size in _numbers("sizes", arguments.sizes):
            fps = as_fps(arguments.fps) if arguments.fps else None
            found.append(LiveRequest(gaussians, size, fps, arguments.driver or "viseme", **chosen))
            chosen["hours"] = 0.0  # once: it has no avatar
    return found


def _numbers(name: str, text: str) -> tuple[int, ...]:
    from marotte.errors import MarotteError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise MarotteError(f"--{name} {text!r} is not a list of numbers: give 20000 or 20000,60000") from None


def _print(figure: "Figure") -> None:
    target = f"{figure.target} {'' if figure.met else '  <-- not met'}" if figure.target else ""
    print(f"  {figure.name:<64}{figure.value:10.2f}  {figure.unit:<16}{target}{' w' if figure.wall else ''}".rstrip())
    sys.stdout.flush()
