"""The real command in a child process, and what it leaves behind: files, processes, words."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

LIMIT = 60
DEMO = Path(__file__).parents[2] / "demos" / "speech.wav"

# Forks, for each command that it is sent, a process that runs it as `python -m marotte` does, but has most modules
# already. Answers with the exit code.
STARTER = """
import gc, json, os, pkgutil, runpy, signal, sys
from importlib import import_module
import PIL.Image, array_api_compat.numpy, imageio_ffmpeg, numba, soundfile, tqdm
import marotte.drivers.acoustic, marotte.drivers.viseme, marotte.renderers.mesh, marotte.renderers.splatting_avatar
import marotte.runtime.cli, marotte.runtime.offline
import marotte.runtime.video.ffmpeg_sink, marotte.runtime.video.png_sink, marotte.runtime.video.probe

for command in pkgutil.iter_modules(marotte.runtime.cli.__path__, "marotte.runtime.cli."):
    import_module(command.name)

numba.njit(lambda x: x)(1)  # what the first function is compiled or loaded with
gc.freeze()

for line in sys.stdin:
    given = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
signal.alarm(given["limit"])
os.chdir(given["folder"])
os.environ.clear()
os.environ.update(given["environment"])
sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
for number, path in enumerate((os.devnull, given["out"], given["err"])):
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(opened, number)
    os.close(opened)
sys.argv = ["marotte", *map(str, given["arguments"])]
runpy.run_module("marotte", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Result:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def notes(self) -> list[str]:
        """What was remarked, but for the word about compiling that a cold cache brings."""
        return [line for line in self._lines if line.startswith("marotte: note:")]

    @property
    def complaints(self) -> list[str]:
        return [line for line in self._lines if line not in self.notes]

    @property
    def _lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if "the first run on a machine compiles" not in line]


class Starter:
    """Runs commands one after the other: each once in a process that starts cold, and then in forked ones."""

    def __init__(self, folder: Path) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self.seen: set[object] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, arguments: tuple[object, ...], environment: dict[str, str]) -> Result:
        assert self.process.stdin and self.process.stdout
        given = {"folder": folder, "out": self.out, "err": self.err, "arguments": arguments, "limit": LIMIT}
        print(json.dumps(given | {"environment": environment}, default=str), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return Result(code, self.out.read_text(), self.err.read_text())

    def close(self) -> None:
        self.process.communicate(timeout=LIMIT)


class Desk:
    """A folder to work in. Sounds lie in `given`, and `out` is where an older file stands in the way."""

    def __init__(self, folder: Path, starter: Starter) -> None:
        self.folder, self.starter = folder, starter
        self.given = folder / "given"
        self.given.mkdir()
        self.made = folder / "made"
        self.made.mkdir()
        self.out = self.made / "film.mp4"
        self.out.write_text("old")

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "marotte", *map(str, arguments)]

    def run(self, *arguments: object, **environment: str) -> Result:
        if arguments[:1] in self.starter.seen and arguments[:1] != ("-c",):
            return self.starter.run(self.folder, arguments, {**os.environ, **environment})
        self.starter.seen.add(arguments[:1])
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *arguments: object, **environment: str) -> Iterator[subprocess.Popen]:
        """Run a command beside the test, in a process group of its own; nothing of it outlives the block."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def end(self, process: subprocess.Popen) -> Result:
        """Return what a started command said once it has ended by itself."""
        out, err = process.communicate(timeout=LIMIT)
        return Result(process.returncode, out, err)

    def sound(self, name: str = "speech.wav", seconds: float = 0.4, samples: np.ndarray | None = None) -> Path:
        path = self.given / name
        if samples is None:  # speech, so that lips move
            samples, _ = soundfile.read(DEMO, dtype="float32", start=8000, frames=round(seconds * 16000))
        soundfile.write(path, samples, 16000)
        return path

    def processes(self) -> list[int]:
        """Return the processes that work on a file of this desk."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.folder) in command:
                    found.append(int(entry.name))
        return found

    def encoder(self) -> int | None:
        """Return the process that writes the half-made film, once it does."""
        for process in self.processes():
            try:
                command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            # The name of the file to write is ffmpeg's last argument; the command ends in \0.
            if command[-2:-1] == [b"file:" + os.fsencode(self.out) + b".part"]:
                return process
        return None

    def assert_untouched(self) -> None:
        """The older file stands as it was, with nothing half-made beside it and nobody at work."""
        assert [path.name for path in self.made.iterdir()] == ["film.mp4"]
        assert self.out.read_text() == "old"
        assert wait_until(lambda: not self.processes()), self.processes()


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="session")
def starter(tmp_path_factory) -> Iterator[Starter]:
    started = Starter(tmp_path_factory.mktemp("starter"))
    yield started
    started.close()


@pytest.fixture
def desk(tmp_path, starter) -> Desk:
    return Desk(tmp_path, starter)


@pytest.fixture
def waiting():
    """`wait_until`, which test files cannot import from here."""
    return wait_until
