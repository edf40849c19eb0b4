"""What the documents show is run."""

import re
import subprocess
import sys
from pathlib import Path

from marotte.runtime.cameras import FORMATS

ROOT = Path(__file__).resolve().parents[1]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "demos").symlink_to(ROOT / "demos")
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_the_readmes_python_runs(tmp_path):
    result = run("\n".join(blocks("README.md", "python")), tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("25 frames,") and result.stdout.endswith("8 cameras; none\n")


def test_the_ten_minute_renderer_keeps_the_contract(tmp_path):
    renderer, test = blocks("CONTRIBUTING.md", "python")
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "silhouette.py").write_text(renderer, encoding="utf-8")
    result = run(test, tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_page_of_conventions_runs_from_top_to_bottom(tmp_path):
    code = "\n".join(blocks("docs/conventions.md", "python"))
    assert code.count("assert ") > 30
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_page_of_rasterizers_runs(tmp_path):
    result = run("\n".join(blocks("docs/rasterizers.md", "python")), tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_page_of_gaussian_talker_runs(tmp_path):
    result = run("\n".join(blocks("docs/gaussian-talker.md", "python")), tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_page_of_conventions_knows_every_format_and_figure():
    page = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert f"\n| `{name}` |" in page, f"the table of losses lacks {name}"
    shown = set(re.findall(r"\]\((conventions/[\w-]+\.png)\)", page))
    drawn = {f"conventions/{path.name}" for path in (ROOT / "docs" / "conventions").iterdir()}
    assert shown == drawn


def test_every_figure_of_conventions_can_be_drawn(tmp_path):
    code = (
        "import runpy, sys; sys.path.insert(0, 'demos')\n"
        "drawing = runpy.run_path('demos/convention_figures.py')\n"
        "for name, draw in drawing['FIGURES'].items():\n"
        "    draw().savefig(name + '.png', dpi=20)\n"
        "print(*drawing['FIGURES'])"
    )
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == {path.stem for path in (ROOT / "docs" / "conventions").iterdir()}
