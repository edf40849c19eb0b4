"""What a path is, and what is said of one that is something else."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.torch_writer import write_torch
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.recognise import recognise
from marotte.runtime.avatars.splatting import import_splatting_avatar
from marotte.runtime.avatars.store import default_name, remove_avatar

REFERENCE = Path(os.environ.get("MAROTTE_REFERENCE", Path(__file__).parents[4] / "shared" / "reference"))
FRAME = {
    "shapecode": np.zeros(300, np.float32),
    "expcode": np.zeros(100, np.float32),
    "posecode": np.zeros(6, np.float32),
    "transform_matrix": np.eye(4, dtype=np.float32)[:3],
}


def plain(folder):
    (folder / "point_cloud/iteration_30000").mkdir(parents=True)
    (folder / "point_cloud/iteration_30000/point_cloud.ply").write_bytes(b"ply\n")
    (folder / "cfg_args").touch()


def talker(folder):
    plain(folder)
    (folder / "cfg_args").unlink()
    (folder / "point_cloud/iteration_30000/deformation.pth").touch()


def rigged(folder):
    plain(folder)
    (folder / "cfg_args").unlink()
    (folder / "point_cloud/iteration_30000/flame_param.npz").touch()


def bare(folder):
    plain(folder)
    (folder / "cfg_args").unlink()


def ours(folder):
    (folder / "avatar.toml").touch()


OTHERS = {
    "3DGS": (plain, "is a plain 3D Gaussian Splatting scene"),
    "GaussianTalker": (talker, "is a GaussianTalker model"),
    "GaussianAvatars": (rigged, "is a GaussianAvatars model"),
    "an unfinished training": (bare, "point_cloud.ply and no embedding.json"),
    "an avatar of ours": (ours, "is an avatar already: use it by this path"),
    "GAGAvatar": (lambda f: write_torch(f / "tracked.pt", {"a.jpg": FRAME}), "is GAGAvatar's tracked pictures"),
    "nothing": (lambda f: (f / "readme.txt").touch(), "is no trained avatar: name the folder that"),
    "empty": (lambda f: None, "is no trained avatar"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_folders_of_other_systems(tmp_path, case):
    make, words = OTHERS[case]
    folder = tmp_path / "given"
    folder.mkdir()
    make(folder)
    with pytest.raises(MarotteError, match=words) as caught:
        recognise(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"), [("metrical", "metrical-tracker's output"), ("gaussiantalker", "GaussianTalker's tracked")]
)
def test_trackers(name, words):
    fixtures = REFERENCE / "cameras/fixtures" / name
    if not fixtures.is_dir():
        pytest.skip(f"no fixtures at {fixtures}")
    with pytest.raises(MarotteError, match=words):
        recognise(fixtures)


def test_the_data_set(trained):
    with pytest.raises(MarotteError, match="is the data set that an avatar is trained on"):
        recognise(trained.data)


def test_files(trained, tmp_path):
    assert recognise(trained.model / "config.yaml").iteration == 30000
    with pytest.raises(MarotteError, match="is not there"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(MarotteError, match="is no trained avatar"):
        recognise(trained.flame)


def test_an_avatar_that_is_in_the_store(trained, store):
    folder = import_splatting_avatar(trained.model).avatar.path
    with pytest.raises(MarotteError, match="is an avatar already"):
        recognise(folder)


def test_a_point_cloud_alone(tmp_path):
    (tmp_path / "scene.ply").write_bytes(b"ply\n")
    with pytest.raises(MarotteError, match=r"has scene\.ply and no embedding\.json"):
        recognise(tmp_path / "scene.ply")


def test_several(trained):
    shutil.copytree(trained.model, trained.root / "berta")
    with pytest.raises(MarotteError, match=r"holds 2 trained avatars \(.*anna.*berta.*\): name one of them"):
        recognise(trained.root)
    assert recognise(trained.root / "berta").model == (trained.root / "berta").resolve()


def test_a_mesh_that_is_no_name(trained):
    path = trained.iteration / "embedding.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"cano_mesh": 7}))
    with pytest.raises(MarotteError, match="names its mesh 7"):
        import_splatting_avatar(trained.model)


def test_names_from_folders(tmp_path):
    assert default_name(tmp_path / "Anna Müller" / "output-splatting" / "last_checkpoint") == "anna-m-ller"
    assert default_name(tmp_path / "bala" / "2024-05-01_12-00") == "bala"


def test_removing(trained, store):
    import_splatting_avatar(trained.model, Given(name="gone"))
    with pytest.raises(MarotteError, match="comes with Marotte"):
        remove_avatar("demo")
    with pytest.raises(MarotteError, match="did you mean 'gone'"):
        remove_avatar("gonee")
    with pytest.raises(MarotteError, match="is a folder: remove it yourself"):
        remove_avatar(str(store / "gone"))
    assert remove_avatar("gone") == store / "gone" and not list(store.iterdir())
