"""A small trained avatar in the published forms, on a stand-in for FLAME of a few hundred vertices."""

import importlib
import json
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marotte.models.flame import FlameModel
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_files import write_splatting_avatar
from marotte.runtime.imavatar import UNIT

ROWS, COLUMNS = 24, 28
RADIUS = 0.12
FRAMES = 5


def ball():
    """Return a closed mesh of a head's size: vertices [V, 3] and faces [F, 3] counter-clockwise from outside."""
    polar = np.linspace(0, np.pi, ROWS + 2)[1:-1, None]
    turn = np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    rings = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn)], axis=-1)
    vertices = np.concatenate([rings.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]]) * (RADIUS, 1.3 * RADIUS, RADIUS)
    here, next_ = np.arange(COLUMNS), (np.arange(COLUMNS) + 1) % COLUMNS
    faces = []
    for row in range(ROWS - 1):
        low, high = row * COLUMNS, (row + 1) * COLUMNS
        faces += [(low + here, high + here, high + next_), (low + here, high + next_, low + next_)]
    top, bottom, last = ROWS * COLUMNS, ROWS * COLUMNS + 1, (ROWS - 1) * COLUMNS
    faces += [(np.full(COLUMNS, top), here, next_), (np.full(COLUMNS, bottom), last + next_, last + here)]
    return vertices, np.concatenate([np.stack(f, axis=1) for f in faces]).astype(np.uint32)


def write_flame(path: Path, seed: int) -> None:
    """Write a stand-in as FLAME's own pickles are; another seed is another version: its template and directions."""
    from scipy.sparse import csc_matrix

    rng = np.random.default_rng(seed)
    vertices, faces = ball()
    count = len(vertices)
    waves = rng.normal(0, 12, (400, 3))
    phases = np.sin(vertices @ waves.T + rng.uniform(0, 6, 400))  # [V, 400]
    directions = phases[:, None, :] * rng.normal(0, 0.0015, (1, 3, 400))
    joints = np.array([[0, -0.12, -0.02], [0, -0.08, -0.02], [0, -0.02, 0.02], [0.03, 0.03, 0.08], [-0.03, 0.03, 0.08]])
    near = np.exp(-((vertices[:, None] - joints) ** 2).sum(axis=2) / 0.004) + 1e-6
    regressor = near.T / near.T.sum(axis=1, keepdims=True)
    content = {
        "v_template": vertices + 0.0004 * (seed - 1),
        "f": faces,
        "shapedirs": directions,
        "posedirs": rng.normal(0, 0.001, (count, 3, 36)),
        "J_regressor": csc_matrix(regressor),
        "weights": near / near.sum(axis=1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.int64),
    }
    path.write_bytes(pickle.dumps(content, protocol=3))  # the first that Python 3 writes bytes in as Python 2 did


@dataclass
class Trained:
    """Folders of one trained avatar."""

    root: Path
    model: Path
    iteration: Path
    data: Path
    flame: Path
    other_flame: Path

    @property
    def params(self) -> Path:
        return self.data / "flame_params.json"


def splats_on(mesh, faces, count=400, degree=0, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return SplattingAvatar(
        face_ids=rng.integers(0, len(faces), count).astype(np.int32),
        bary=rng.dirichlet((1, 1, 1), count).astype(np.float32),
        uvd=rng.normal(0, 0.01, (count, 3)).astype(np.float32),
        rotations_wxyz=rng.normal(0, 1, (count, 4)).astype(np.float32),
        log_scales=rng.normal(-3.2, 0.3, (count, 3)).astype(np.float32),
        opacity_logits=rng.normal(2, 1, count).astype(np.float32),
        sh=rng.normal(0, 0.5, (count, (degree + 1) ** 2, 3)).astype(np.float32),
        canonical=mesh.astype(np.float32),
        faces=faces.astype(np.int32),
        **settings,
    )


def write_trained(root: Path, *, degree: int = 0, unit: float = UNIT, **settings) -> Trained:
    """Write it all under `root`, which is there."""
    rng = np.random.default_rng(5)
    made = Trained(
        root,
        root / "anna",
        root / "anna/point_cloud/iteration_30000",
        root / "data",
        root / "FLAME2020/generic_model.pkl",
        root / "FLAME2020/flame2023.pkl",
    )
    made.flame.parent.mkdir()
    write_flame(made.flame, 1)
    write_flame(made.other_flame, 2)
    shape = rng.normal(0, 1, 100).astype(np.float32)
    expression = rng.normal(0, 0.7, (FRAMES, 50)).astype(np.float32)
    pose = rng.normal(0, 0.05, (FRAMES, 15)).astype(np.float32)
    pose[:, 3:6] *= 4  # the neck turns most
    head = FlameModel.load(made.flame, n_shape=100, n_expression=50, basis="flame2020").baked(shape, unit)
    first = head.imavatar(expression[:1], pose[:1]).vertices[0]
    folder = write_splatting_avatar(splats_on(first, head.faces, degree=degree, **settings), made.model)
    assert folder == made.iteration
    (made.data / "images").mkdir(parents=True)
    frames = []
    for i in range(FRAMES):
        Image.new("RGBA", (160, 200)).save(made.data / f"images/{i + 1}.png")
        frames.append(
            {
                "file_path": f"./image/{i + 1}",
                "world_mat": [[1, 0, 0, 0.0], [0, 1, 0, 0.1], [0, 0, 1, -1.2 * unit]],
                "expression": expression[i].tolist(),
                "pose": pose[i].tolist(),
            }
        )
    table = {"intrinsics": [-3.0, 2.4, 0.5, 0.5], "shape_params": shape.tolist(), "frames": frames}
    made.params.write_text(json.dumps(table))
    return made


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("small") / "one" / "two" / "three" / "four"  # nothing of other tests is near
    root.mkdir(parents=True)
    write_trained(root)
    return root


@pytest.fixture
def trained(_trained_once, tmp_path):
    """A trained avatar that a test may damage; FLAME's files, which are large, it may replace but not write into."""
    root = tmp_path / "a" / "b" / "c" / "d"
    shutil.copytree(_trained_once, root, ignore=shutil.ignore_patterns("FLAME2020"))
    shutil.copytree(_trained_once / "FLAME2020", root / "FLAME2020", copy_function=os.link)
    return Trained(
        root,
        root / "anna",
        root / "anna/point_cloud/iteration_30000",
        root / "data",
        root / "FLAME2020/generic_model.pkl",
        root / "FLAME2020/flame2023.pkl",
    )


@pytest.fixture
def make_trained():
    """`write_trained`, which test files cannot import from here."""
    return write_trained


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The user's own avatars, none yet, and no FLAME anywhere but where a test says."""
    monkeypatch.setenv("MAROTTE_AVATARS", str(tmp_path / "avatars"))
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path / "assets"))
    monkeypatch.delenv("MAROTTE_FLAME", raising=False)
    monkeypatch.delenv("ARTALK_ASSET_DIR", raising=False)
    return tmp_path / "avatars"


@pytest.fixture(scope="session")
def standin(made_once):
    """What a user of GAGAvatar has on disk, of a stand-in for FLAME: see demos/gagavatar_standin.py. Read only."""
    below = Path("one", "two", "three", "four")

    def write(folder):
        demos = Path(__file__).parents[3] / "demos"
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(demos))
            module = importlib.import_module("gagavatar_standin")
        (folder / below.parent).mkdir(parents=True)
        module.write(folder / below)

    return made_once("gagavatar", write) / below
