"""marotte bench --lipsync: how well a driver's lips follow speech."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marotte.runtime.contracts import Driver
    from marotte.runtime.lipsync.labelled import LabelledSpeech
    from marotte.runtime.lipsync.report import Pairs

# Those of the arguments that mean nothing without --lipsync.
_OWN = ("audio", "text", "weights", "avatar", "recordings", "definitions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments that --lipsync brings."""
    own = parser.add_argument_group("lip sync", "measured on synthetic speech with known phones, or on your own")
    own.add_argument("--lipsync", action="store_true", help="measure how well a driver's lips follow speech")
    own.add_argument("audio", nargs="?", metavar="AUDIO", help="an English recording in place of the test speech")
    own.add_argument("--text", metavar="TEXT", help="what is said in AUDIO, or a file with it")
    own.add_argument(
        "--recordings", metavar="FOLDER", help="many of them; --text names a file with a line `name: text` for each"
    )
    own.add_argument("--driver", help="where motion comes from (the default driver); alone: measure that driver only")
    own.add_argument("--weights", metavar="FILE", help="weights for a driver that takes them")
    own.add_argument("--avatar", help="whose lips are measured (demo)")
    own.add_argument("--definitions", action="store_true", help="say what each figure is")


def check_unused(arguments: argparse.Namespace) -> None:
    """Raise MarotteError where an argument was given that needs --lipsync."""
    from marotte.errors import MarotteError

    for name in _OWN:
        if value := getattr(arguments, name):
            given = value if name == "audio" else f"--{name}"
            raise MarotteError(f"{given} is for lip sync alone: add --lipsync")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table as it grows."""
    from marotte.errors import MarotteError
    from marotte.runtime.compiled import prepare
    from marotte.runtime.lipsync import report
    from marotte.runtime.lipsync.measure import measure
    from marotte.runtime.offline import DEFAULT_AVATAR, DEFAULT_DRIVER
    from marotte.runtime.registry import create

    _check(arguments)
    prepare()
    name = arguments.driver or DEFAULT_DRIVER
    avatar = arguments.avatar or DEFAULT_AVATAR
    driver: Driver = create("driver", name)
    options = {"weights": arguments.weights} if arguments.weights else {}
    print(f"lip sync of the driver {name} on the avatar {avatar}; below each figure its 95 % interval")
    print(report.header())
    results: list[report.Result] = []
    rows: list[tuple[str, str, Pairs]] = []
    left_out: list[str] = []

    def tell(result: report.Result) -> None:
        results.append(result)
        print(*report.lines(result), sep="\n", flush=True)

    for title, group, speech in _speech(arguments, left_out):
        rows.append((title, group, report.follow(driver, speech, avatar, options)))
        tell(report.Result(title, measure(rows[-1][2]), group))
    for result in report.pooled(rows):
        tell(result)
    still = [] if arguments.audio or arguments.recordings else list(_still(driver, avatar, options, arguments.only))
    if not (rows or still or left_out):
        raise MarotteError(f"no row of lip sync has {arguments.only!r} in its name: leave out --only to see them all")
    if arguments.definitions:
        print(*report.definitions(), sep="\n")
    if arguments.plot:
        _plot(rows, name, arguments.plot)
    if arguments.json:
        _write(arguments.json, report.content(name, avatar, results, still, left_out))


def _check(arguments: argparse.Namespace) -> None:
    from marotte.errors import MarotteError

    if arguments.audio and arguments.recordings:
        raise MarotteError(f"{arguments.audio} and --recordings cannot be measured at once: leave out one of them")
    if arguments.audio and not arguments.text:
        raise MarotteError(f"the phones of {arguments.audio} follow from its words: give them with --text")
    if arguments.recordings and not arguments.text:
        raise MarotteError("--recordings needs --text FILE with a line `name: text` for each recording")
    if arguments.text and not (arguments.audio or arguments.recordings):
        raise MarotteError("--text says what is said in a recording: name that too")
    if arguments.weights and not Path(arguments.weights).is_file():
        raise MarotteError(f"--weights {arguments.weights} is not a file")


def _speech(arguments: argparse.Namespace, left_out: list[str]) -> Any:
    """Yield (title, group, speech) of each row; say which are left out, and note it."""
    from marotte.errors import MarotteError
    from marotte.runtime.lipsync import testset

    def leave_out(why: str) -> None:
        left_out.append(why)
        print(f"left out: {why}", flush=True)

    if arguments.audio:
        text = testset.read_text(arguments.text) if _is_file(arguments.text) else arguments.text
        yield Path(arguments.audio).name, "", [testset.recording(arguments.audio, text)]
        return
    if arguments.recordings:
        speech: list[LabelledSpeech] = []
        for one in testset.recordings(arguments.recordings, arguments.text):
            if isinstance(one, MarotteError):
                leave_out(str(one))
            else:
                speech.append(one)
        if not speech:
            raise MarotteError(f"none of the recordings in {arguments.recordings} can be used")
        yield "recordings", "", speech
        return
    for row in testset.speech_rows():
        if arguments.only in row.name:
            try:
                yield row.name, row.group, row.make()
            except MarotteError as error:
                leave_out(f"{row.name} ({error})")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a text that is too long for a name
        return False


def _still(driver: "Driver", avatar: str, options: dict[str, Any], only: str) -> Any:
    """Yield (name, stillness) of each kind of sound without speech, and print it."""
    from marotte.runtime.lipsync import report, testset
    from marotte.runtime.lipsync.measure import stillness

    rows = [row for row in testset.nonspeech_rows() if only in row.name]
    if rows:
        print(report.still_header())
    for row in rows:
        found = stillness([track for track, _ in report.follow(driver, row.make(), avatar, options)])
        print(report.still_line(row.name, found), flush=True)
        yield row.name, found


def _plot(rows: "list[tuple[str, str, Pairs]]", name: str, path: str) -> None:
    from marotte.errors import MarotteError
    from marotte.runtime.lipsync.plot import plot

    if not rows:
        raise MarotteError("nothing to plot: no row of speech was measured")
    track, speech = rows[0][2][0]
    plot(speech, [(name, track)], path)


def _write(path: str, content: dict[str, Any]) -> None:
    from marotte.errors import MarotteError

    try:
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise MarotteError(f"cannot write {path}: {error.strerror or error}") from error
