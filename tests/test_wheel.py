"""A built wheel renders in a fresh environment, and a stranger's plug-in is found beside it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from marotte.runtime.video.probe import probe

ROOT = Path(__file__).resolve().parents[1]

STRANGER = {
    "stranger/__init__.py": "",
    "stranger/steps.py": '''
from fractions import Fraction
import numpy as np
from marotte.runtime.contracts import Driver, DriverStream
from marotte.runtime.motion import Motion

class Steps(Driver):
    """Opens the jaw every other second, decided in chunks of 4 s."""

    basis, fps, chunk = "arkit52", Fraction(25), 4.0

    def open(self, options=None):
        return Stream()

class Stream(DriverStream):
    def __init__(self):
        self.reset()

    def reset(self):
        self.heard = self.given = 0

    def feed(self, samples):
        self.heard += len(samples)
        return self.until(self.heard // 64000 * 100)

    def finish(self):
        return self.until(-(-self.heard // 640))

    def until(self, stop):
        frames = np.arange(self.given, max(stop, self.given))
        self.given = max(stop, self.given)
        codes = np.zeros((len(frames), 106))
        codes[:, 103] = 0.2 * (frames // 25 % 2)
        return Motion(codes, Steps.fps, Steps.basis)
''',
    "stranger-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n",
    "stranger-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "stranger-1.0.dist-info/entry_points.txt": (
        "[marotte.drivers]\nsteps = stranger.steps:Steps\nbroken = stranger.nowhere:Nothing\n"
    ),
    "stranger-1.0.dist-info/RECORD": "",
}


def call(*command: object, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "COV_"))}
    result = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=clean)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the built wheel, a stranger's wheel, and this environment's libraries."""
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: a build writes metadata beside the source, where other tests are reading it.
    leave = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "out")
    shutil.copytree(ROOT, folder / "source", ignore=leave, symlinks=True)
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, folder / "source", cwd=folder)
    (wheel,) = folder.glob("marotte-*.whl")
    stranger = folder / "stranger-1.0-py3-none-any.whl"
    with zipfile.ZipFile(stranger, "w") as archive:
        for name, text in STRANGER.items():
            archive.writestr(name, text)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    call(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-index",
        "--no-deps",
        wheel,
        stranger,
        cwd=folder,
    )
    # A path in a .pth file brings the libraries and not the editable marotte, whose own .pth is not read there.
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    bring_compiled(site / "marotte")
    return python, folder, wheel


def bring_compiled(package: Path) -> None:
    """Put what numba has compiled of this checkout's files beside the installed ones, which are the same bytes.

    numba knows a file by its time and size; where another test has not compiled a kernel yet, the installed one is.
    """
    for part in ("models", "runtime", "drivers", "renderers"):
        for kept in (ROOT / part).rglob("__pycache__"):
            folder = package / kept.parent.relative_to(ROOT)
            for source in kept.parent.glob("*.py"):
                if (installed := folder / source.name).is_file() and installed.read_bytes() == source.read_bytes():
                    os.utime(installed, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
                    (folder / "__pycache__").mkdir(exist_ok=True)
                    for compiled in kept.glob(f"{source.stem}.*.nb[ic]"):
                        shutil.copy2(compiled, folder / "__pycache__")


def test_the_wheel_holds_every_module_and_the_demo(installed):
    _, _, wheel = installed
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("models", "runtime", "drivers", "renderers"):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"marotte/{path.relative_to(ROOT).as_posix()}" in names
    assert {"marotte/py.typed", "marotte/runtime/data/avatars/demo/head.npz"} <= names
    assert not any(name.startswith(("models/", "runtime/", "tests/", "demos/")) for name in names)


def test_it_renders_from_the_wheel(installed):
    python, folder, _ = installed
    where = call(python, "-c", "import marotte.runtime; print(marotte.runtime.__file__)", cwd=folder)
    assert str(folder) in where
    sound = ROOT / "demos" / "speech.wav"
    call(python, "-m", "marotte", "render", sound, "-o", "x.mp4", "--size", "96", "--duration", "1", cwd=folder)
    assert probe(folder / "x.mp4").frames == 25


def test_a_strangers_driver_is_found_and_a_broken_one_is_named(installed):
    python, folder, _ = installed
    sound = ROOT / "demos" / "speech.wav"
    call(python, "-m", "marotte", "drive", sound, "-o", "m.npz", "--driver", "steps", "--duration", "6", cwd=folder)
    told = call(python, "-m", "marotte", "motion", "m.npz", cwd=folder)
    assert "150 frames" in told and "jaw x" in told
    info = call(python, "-m", "marotte", "info", cwd=folder)
    assert "steps            available" in info
    assert "stranger.nowhere" in info and "does not import" in info


def test_a_strangers_driver_keeps_the_contract(installed):
    python, folder, _ = installed
    code = "from stranger.steps import Steps; from marotte.runtime.testing import check_driver; check_driver(Steps())"
    call(python, "-c", code, cwd=folder)
