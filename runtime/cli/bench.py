"""marotte bench: measure drivers, renderers, rasterizers and encoding, stage by stage; lip sync; a live server."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marotte.runtime.cli import bench_lipsync, bench_live

if TYPE_CHECKING:
    from marotte.runtime.bench import Result, Stage


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
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="FILE",
        help="compare with the JSON of another run, machine or commit; with two files nothing is measured",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table as it grows; compare with another run."""
    from marotte.errors import MarotteError
    from marotte.runtime.bench_against import Run, against, make_run, read_run

    before: Run | None = None
    if arguments.against:
        old, *new = arguments.against
        if len(new) > 1:
            raise MarotteError(f"--against {' '.join(arguments.against)}: two runs are compared, not {len(new) + 1}")
        before = read_run(old)
        if new:
            print(*against(before, read_run(new[0])), sep="\n")
            return
        if arguments.lipsync or arguments.live or before.kind != "times":
            what = "--lipsync" if arguments.lipsync else "--live" if arguments.live else f"{old}, no run of times,"
            raise MarotteError(
                f"{what} is compared between two files: write this run as JSON, then marotte bench --against {old} "
                "NEW.json"
            )
    if arguments.lipsync:
        bench_lipsync.run(arguments)
        return
    bench_lipsync.check_unused(arguments)
    if arguments.live:
        bench_live.run(arguments)
        return
    bench_live.check_unused(arguments)
    content = _measure(arguments)
    if before:
        print(*against(before, make_run("this run", content)), sep="\n")


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the report of what was measured, and write it where that was asked for."""
    from marotte.errors import MarotteError
    from marotte.models.plain_files import write_whole
    from marotte.runtime.bench import Request, all_cases, measure, report, speedups
    from marotte.runtime.compiled import prepare
    from marotte.runtime.whole_file import check_place

    if not 1 <= arguments.frames <= 10000:
        raise MarotteError(f"{arguments.frames} frames cannot be measured: give 1 to 10000")
    request = Request(
        _numbers("sizes", arguments.sizes),
        _numbers("gaussians", arguments.gaussians),
        arguments.frames,
        arguments.driver or "",
    )
    if arguments.json:
        check_place(Path(arguments.json))
    prepare()
    results = []
    print(f"{'':<52}{'CPU-ms':>9}{'p95':>9}{'p99':>9}{'wall-ms':>9}{'p95':>9}{'p99':>9}  per frame, medians")
    for case in all_cases(request, arguments.only):
        results.append(measure(case, request))
        _print(results[-1])
    for (name, settings), ratio in speedups(results).items():
        print(f"{name} {_words(json.loads(settings))}: {ratio:.0f} times faster than its slow twin, in this run")
    if arguments.plot:
        from marotte.runtime.bench_plot import plot

        plot(results, arguments.plot)
    content = report(results)
    if arguments.json:
        write_whole(Path(arguments.json), (json.dumps(content, indent=1) + "\n").encode())
    return content


def _numbers(name: str, text: str) -> tuple[int, ...]:
    from marotte.errors import MarotteError

    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 1:
        raise MarotteError(f"--{name} {text!r} is not a list of numbers above 0: give 512 or 512,768")
    return values


def _print(result: "Result") -> None:
    print(f"{result.name + ' ' + _words(result.settings):<52}{_row(result.total)}")
    for name, stage in result.stages.items():
        print(f"  {name:<50}{_row(stage)}")
    facts = dict(result.facts) | ({"frames a second": result.per_second} if result.per_second else {})
    if facts:
        print(f"  {_words(facts)}")
    sys.stdout.flush()


def _row(stage: "Stage") -> str:
    times = stage.cpu_ms, stage.cpu_p95_ms, stage.cpu_p99_ms, stage.wall_ms, stage.wall_p95_ms, stage.wall_p99_ms
    return "".join(f"{time:9.2f}" for time in times)


def _words(settings: object) -> str:
    items = settings.items() if isinstance(settings, dict) else ()
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in items)
