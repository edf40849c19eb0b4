"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "runtime", "drivers", "renderers")
SOURCES = [path for folder in (*FOLDERS, "src", "demos", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
BARE = {*FOLDERS, "tests", "demos"}


def test_every_folder_of_modules_is_a_package():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} has modules and no __init__.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_bare_folder_names_are_never_imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] not in BARE, f"{path} imports {name}"


def test_files_stay_short():
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 460}
    assert not long


def test_bare_folder_names_are_never_in_use():
    code = (
        "import marotte.runtime.offline, marotte.drivers.viseme, marotte.renderers.mesh, sys;"
        f"print([name for name in {sorted(BARE)} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_help_imports_no_library():
    code = (
        "import sys; sys.argv = ['marotte', '--help']\n"
        "import runpy\n"
        "try: runpy.run_module('marotte', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'torch', 'scipy', 'librosa', 'matplotlib', 'PIL', 'tqdm', 'soundfile'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stderr.strip() == "[]" and "render" in out.stdout


def test_the_default_path_imports_no_torch(tmp_path):
    code = (
        "import sys, marotte\n"
        f"marotte.render({str(ROOT / 'demos/speech.wav')!r}, {str(tmp_path / 'x.mp4')!r}, size=64, duration=0.2)\n"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_tracked_files_name_no_machine():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    # Spelt in pieces, so that this very line does not match.
    marks = re.compile("/ro" + "ot/|/wo" + "rk/|TO" + "DO|FIX" + "ME|breakpoint" + r"\(\)")
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yml", "") and path.is_file() and not path.is_symlink():
            found = marks.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert not found, f"{name}: {found.group()}"


def test_typings_show_the_packages():
    for name in ("__init__.py", "__main__.py", "errors.py", "py.typed", *FOLDERS):
        link = ROOT / "typings" / "marotte" / name
        assert link.is_symlink() and link.exists(), f"{link} does not lead anywhere"


HELPS = (
    *("render", "compare", "live", "motion", "bench", "doctor", "avatars import", "avatars export", "avatars evaluate"),
    *("cameras convert", "cameras crop", "cameras turntable", "cameras plot"),
)


def _help(command: str) -> str:
    command_line = [sys.executable, "-m", "marotte", *command.split(), "--help"]
    return subprocess.run(command_line, capture_output=True, text=True, check=True).stdout


def test_what_readme_and_help_say_agrees():
    readme = (ROOT / "README.md").read_text()
    known = "".join(map(_help, HELPS)) + "--tests"
    for option in set(re.findall(r"`[^`\n]*?(--[a-z-]+)", readme)):
        assert option in known, f"README names {option}, which no help knows"
    for link in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (ROOT / link).exists(), f"README links {link}, which is not there"
