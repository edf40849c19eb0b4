"""Fixtures that several folders of tests share."""

import importlib.util
from pathlib import Path

import pytest

DEMOS = Path(__file__).resolve().parents[1] / "demos"


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """What a user of SplattingAvatar has on disk, of a stand-in for FLAME: see demos/published_folder.py. Read only."""
    spec = importlib.util.spec_from_file_location("published_folder", DEMOS / "published_folder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("trained") / "published"
    module.write(out, frames=6, size=192, variant="live")
    return out
