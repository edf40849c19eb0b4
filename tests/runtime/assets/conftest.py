"""A small store of published files, and what tests put into it."""

import hashlib
import json
from pathlib import Path

import pytest

from marotte.runtime import assets
from marotte.runtime.assets import catalogue

WEIGHTS, STYLE = b"weights" * 5000, b"style" * 3000
CONTENT = {"net.pt": WEIGHTS, "style_motion/glad.pt": STYLE}


class Room:
    """`store` is the folder of assets, `given` one for what is not in it; `net` is the manifest's net.pt."""

    content = CONTENT

    def __init__(self, folder: Path) -> None:
        self.store, self.given = folder / "store", folder / "given"
        self.given.mkdir()
        self.net = catalogue()["net.pt"]

    def give(self, name: str, content: bytes) -> Path:
        path = self.given / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def kept(self) -> list[str]:
        """The files of the store, but for the record of hashes."""
        found = (p for p in self.store.rglob("*") if p.is_file() and p.name[0] != ".")
        return sorted(str(p.relative_to(self.store)) for p in found)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """An empty store, and a manifest of two small files and of FLAME's, which have no hash."""
    groups = {name: {"needed_by": f"driver {name}", "licence": f"terms of {name}"} for name in ("net", "styles")}
    groups["flame"] = {"needed_by": "", "licence": "FLAME's own"}
    files = [
        {
            "name": name,
            "group": group,
            "bytes": len(CONTENT[name]),
            "sha256": hashlib.sha256(CONTENT[name]).hexdigest(),
            "huggingface": f"someone/Thing:{name}",
        }
        for name, group in zip(CONTENT, ("net", "styles"), strict=True)
    ]
    unhashed = ("generic_model.pkl", "flame2023.pkl", "landmark_embedding.npy", "FLAME_masks.pkl")
    files += [{"name": name, "group": "flame"} for name in unhashed]
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"groups": groups, "files": files}))
    monkeypatch.setattr(assets, "MANIFEST", manifest)
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path / "store"))
    monkeypatch.delenv("ARTALK_ASSET_DIR", raising=False)
    return Room(tmp_path)
