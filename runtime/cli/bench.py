"""marotte bench: measure drivers, renderers, rasterizers and encoding, stage by stage; lip sync; a live server."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from marotte.runtime.cli import bench_lipsync, bench_live

if TYPE_CHECKING:
    from marotte.runtime.bench import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    bench_lipsync.add_arguments(parser)
    bench_live.add_arguments(parser)
    parser.add_argument("--only", default="", metavar="WORD", help="only what has this in its name: line, encode, ...")
    parser.add_argument("--sizes", default="512", help="of square pictures, comma separated (512)")
    parser.add_argument("--gaussians", default="20000,60000", help="in scenes, comma separated (20000,60000)")
    parser.add_argument("--frames", type=int, default=30, help="to measure of each case (30)")
    parser.add_argument("--json", metavar="FILE", help="write it all as JSON too, with hardware, versions and commit")
    parser.add_argument(
        "--plot", metavar="FILE.png", help="plot the cost over sizes and Gaussians; phones over lip gap"
    )
    parser.add_argument("--against", metavar="FILE", help="compare with the JSON of another run")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table as it grows."""
    if arguments.lipsync:
        bench_lipsync.run(arguments)
        return
    bench_lipsync.check_unused(arguments)
    if arguments.live:
        bench_live.run(arguments)
        return
    bench_live.check_unused(arguments)
    from marotte.errors import MarotteError
    from marotte.runtime.bench import Request, all_cases, measure, read_report, report, speedups
    from marotte.runtime.compiled import prepare

    if not 1 <= arguments.frames <= 10000:
        raise MarotteError(f"{arguments.frames} frames cannot be measured: give 1 to 10000")
    prepare()
    before = read_report(arguments.against) if arguments.against else {}
    request = Request(
        _numbers("sizes", arguments.sizes),
        _numbers("gaussians", arguments.gaussians),
        arguments.frames,
        arguments.driver or "",
    )
    results = []
    print(f"{'':<52}{'CPU-ms':>9}{'p95':>9}{'wall-ms':>9}{'p95':>9}  per frame, medians")
    for case in all_cases(request, arguments.only):
        results.append(measure(case, request))
        _print(results[-1], before)
    for (name, settings), ratio in speedups(results).items():
        print(f"{name} {_words(json.loads(settings))}: {ratio:.0f} times faster than its slow twin, in this run")
    if arguments.plot:
        from marotte.runtime.bench_plot import plot

        plot(results, arguments.plot)
    if arguments.json:
        try:
            Path(arguments.json).write_text(json.dumps(report(results), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise MarotteError(f"cannot write {arguments.json}: {error.strerror or error}") from error


def _numbers(name: str, text: str) -> tuple[int, ...]:
    from marotte.errors import MarotteError

    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 1:
        raise MarotteError(f"--{name} {text!r} is not a list of numbers above 0: give 512 or 512,768")
    return values


def _print(result: "Result", before: dict[tuple[str, str], "Result"]) -> None:
    title = f"{result.name} {_words(result.settings)}"
    total = result.total
    line = f"{title:<52}{total.cpu_ms:9.2f}{total.cpu_p95_ms:9.2f}{total.wall_ms:9.2f}{total.wall_p95_ms:9.2f}"
    if old := before.get(result.key):
        line += f"  {total.cpu_ms / max(old.total.cpu_ms, 1e-9):.2f} x the CPU time of {old.total.cpu_ms:.2f}"
    print(line)
    for name, stage in result.stages.items():
        print(f"  {name:<50}{stage.cpu_ms:9.2f}{stage.cpu_p95_ms:9.2f}{stage.wall_ms:9.2f}{stage.wall_p95_ms:9.2f}")
    if result.facts:
        print(f"  {_words(result.facts)}")
    sys.stdout.flush()


def _words(settings: object) -> str:
    items = settings.items() if isinstance(settings, dict) else ()
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in items)
