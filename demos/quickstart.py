"""Set up `.venv` and render the demo, or run the tests: `python3 demos/quickstart.py [--tests]`.

Needs only Python 3.11 or newer with venv. It can be run again and again: the installation is
skipped while pyproject.toml and setup.py are unchanged.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main() -> int:
    """Install what is missing, then render or test."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", action="store_true", help="run the tests instead of rendering the demo")
    parser.epilog = "Further arguments go to `marotte render`, or with --tests to pytest."
    arguments, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):  # noqa: UP036 -- this very file is run by whatever python3 is there
        print(f"Marotte needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    install("test" if arguments.tests else "")
    if arguments.tests:
        return subprocess.call([PYTHON, "tests/run.py", *rest], cwd=ROOT)
    demo = ["render", "demos/speech.wav", "-o", "demo.mp4"]
    return subprocess.call([PYTHON, "-m", "marotte", *demo, *rest], cwd=ROOT)


def install(extra: str) -> None:
    """Make `.venv` and install the project in it, unless that was done for these very files."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "setup.py"))
    name = extra or "base"
    digest = hashlib.sha256(files + str(ROOT).encode()).hexdigest()
    # The tests' installation holds all that the demo needs.
    stamps = [VENV / f"installed-{done}" for done in {name, "test"}]
    if PYTHON.exists() and any(stamp.is_file() and stamp.read_text() == digest for stamp in stamps):
        return
    if not PYTHON.exists():
        print("making .venv", flush=True)
        try:
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            sys.exit(f"cannot make {VENV} ({error}); on Debian and Ubuntu: apt install python3-venv")
    print("installing (220 MB the first time)", flush=True)
    target = f".[{extra}]" if extra else "."
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", target]
    if code := subprocess.call(command, cwd=ROOT):
        sys.exit(code)
    (VENV / f"installed-{name}").write_text(digest)


if __name__ == "__main__":
    sys.exit(main())
