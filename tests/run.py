"""Run every check that CI runs: style, types, layers, tests. `python tests/run.py [pytest arguments]`.

`--cov` among the arguments measures coverage, which costs a fifth of the time.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BIN = Path(sys.executable).parent

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-cache", "--no-logo"),
)


def main() -> int:
    """Return 0 where all is well. With arguments, only pytest runs, with them."""
    chosen = sys.argv[1:]
    # The editable finder hides the folders from import-linter; the symlinks in typings/ show them.
    environment = os.environ | {"PYTHONPATH": str(ROOT / "typings")}
    for name, *arguments in () if chosen else CHECKS:
        print("==", name, *arguments, flush=True)
        if code := subprocess.call([BIN / name, *arguments], cwd=ROOT, env=environment):
            return code
    # One thread of matrix products a worker: more wait for each other, spinning.
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # One worker more than cores: the page's waits for its browser most of the time.
    parallel = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadgroup"]
    print("== pytest", flush=True)
    return subprocess.call([sys.executable, "-m", "pytest", *(chosen or parallel)], cwd=ROOT, env=one_thread)


if __name__ == "__main__":
    sys.exit(main())
