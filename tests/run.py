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

# In a fresh clone each of pytest's workers would compile the same kernels at the same time.
COMPILE = """
from marotte.renderers.mesh import MeshRenderer
from marotte.renderers.rasterizers.cpu import warm_up
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer

warm_up((3, 4, 32), sh=True)
SplattingAvatarRenderer().warm_up()
MeshRenderer().warm_up()
"""


def main() -> int:
    """Return 0 where all is well. With arguments, only pytest runs, with them."""
    chosen = sys.argv[1:]
    # On one core, while the other is at the checks.
    compiling = None if chosen else subprocess.Popen([sys.executable, "-c", COMPILE], cwd=ROOT)
    # The editable finder hides the folders from import-linter; the symlinks in typings/ show them.
    environment = os.environ | {"PYTHONPATH": str(ROOT / "typings")}
    code = 0
    for name, *arguments in () if chosen else CHECKS:
        print("==", name, *arguments, flush=True)
        if code := subprocess.call([BIN / name, *arguments], cwd=ROOT, env=environment):
            break
    if compiling:
        compiling.wait()
    if code:
        return code
    # One thread of matrix products a worker: more wait for each other, spinning.
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # One worker more than cores: the page's waits for its browser most of the time.
    parallel = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadgroup"]
    print("== pytest", flush=True)
    return subprocess.call([sys.executable, "-m", "pytest", *(chosen or parallel)], cwd=ROOT, env=one_thread)


if __name__ == "__main__":
    sys.exit(main())
