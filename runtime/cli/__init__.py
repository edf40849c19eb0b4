"""The command line. Importing it imports no library: `marotte --help` answers at once."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.cli.stop import Stop, Stopped


def run(argv: Sequence[str]) -> int:
    """Run a command and return its exit code: 0, 2 for what the user can mend, 130 on Ctrl-C."""
    stop = Stop()
    arguments = argparse.Namespace(debug=False)
    warnings.showwarning = _show_note
    warnings.simplefilter("always", MarotteWarning)
    try:
        _parser().parse_args(argv, arguments)
        code: int = arguments.run(arguments) or 0
        sys.stdout.flush()  # a pipe that closed is noticed here, and not by the interpreter's end
        return code
    except (Stopped, Exception) as error:
        # Stopped inside compiled code, numba raises a SystemError of its own.
        if stop.code:
            stop.ignore_more()
            print("marotte: stopped; nothing was written", file=sys.stderr)
            return stop.code
        if isinstance(error, BrokenPipeError):
            # Whoever read our output has gone (`marotte info | head`): that is no fault.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if arguments.debug:
            raise
        return _complain(error)


def _complain(error: BaseException) -> int:
    if isinstance(error, MarotteError):
        print(f"marotte: {_one_line(error)}", file=sys.stderr)
        return error.exit_code
    what = f"{type(error).__name__}: {_one_line(error)}"
    print(f"marotte: internal error: {what} (--debug shows where; please report it)", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    from marotte.runtime.cli import (
        assets,
        avatars,
        bench,
        cameras,
        compare,
        doctor,
        drive,
        info,
        live,
        motion,
        render,
    )

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show a traceback where something goes wrong")
    parser = argparse.ArgumentParser(prog="marotte", description="Speech in, a talking 3D head out.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for module in (render, live, compare, drive, motion, avatars, assets, cameras, doctor, bench, info):
        _add(commands, module, common)
    return parser


def _add(commands: Any, module: ModuleType, common: argparse.ArgumentParser) -> None:
    summary = (module.__doc__ or "").partition(": ")[2].strip()
    parser = commands.add_parser(
        module.__name__.rpartition(".")[2],
        parents=[common],
        help=summary,
        description=summary[:1].upper() + summary[1:],
    )
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from marotte import __version__

        print(f"marotte {__version__}")
        parser.exit()


def _show_note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, MarotteWarning):
        print(f"marotte: note: {_one_line(message)}", file=sys.stderr)


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
