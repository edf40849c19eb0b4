"""What the documents show is run."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "demos").symlink_to(ROOT / "demos")
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_the_readmes_python_runs(tmp_path):
    (code,) = blocks("README.md", "python")
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("25 frames,")


def test_the_ten_minute_renderer_keeps_the_contract(tmp_path):
    renderer, test = blocks("CONTRIBUTING.md", "python")
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "silhouette.py").write_text(renderer, encoding="utf-8")
    result = run(test, tmp_path)
    assert result.returncode == 0, result.stderr
