"""Which heads are at hand, what is said where none is, and the cache."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.places import cache_folder
from marotte.runtime.splats import avatar_person
from marotte.runtime.transfer import solve as solving
from marotte.runtime.transfer.find import find_blink, find_transfer
from marotte.runtime.transfer.store import solved


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.setenv("MAROTTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path / "assets"))
    for name in ("MAROTTE_FLAME", "ARTALK_ASSET_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def trained(published) -> Avatar:
    return Avatar(
        name="trained",
        path=published,
        renderer="splatting-avatar",
        basis="flame2020",
        head="flame/generic_model.pkl",
        expressions=50,
    )


@pytest.fixture
def bare(published, tmp_path, trained) -> Avatar:
    """The trained avatar with nothing beside its head."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "generic_model.pkl").hardlink_to(published / "flame" / "generic_model.pkl")
    return replace(trained, path=tmp_path / "bare", head="generic_model.pkl")


def kept():
    return sorted(cache_folder("transfers").glob("*"))


def test_arkit_needs_no_file_but_the_avatars(trained):
    found = find_transfer("arkit52", trained)
    assert found.transfer.source == "arkit52" and found.transfer.target == "flame2020" and not found.reason
    assert found.transfer.expression.shape == (50, 100)


def test_flame_is_what_the_user_names(trained, published, monkeypatch):
    demo = load_avatar("demo")
    missing = find_transfer("flame2020", demo)
    assert missing.transfer is None
    assert all(word in missing.reason for word in ("flame2020", "--flame", "$MAROTTE_FLAME", "FLAME_with_eye.pt"))
    assert find_transfer("flame2020", demo, published / "flame").transfer.target == "arkit52"
    monkeypatch.setenv("MAROTTE_FLAME", str(published / "flame" / "flame2023.pkl"))
    assert find_transfer("flame2020", demo).transfer is None  # another basis, by its name
    assert find_transfer("flame2023", trained).transfer.method == "the same mesh"
    with pytest.raises(MarotteError, match=r"--flame .*gone\.pkl is not there"):
        find_transfer("flame2020", demo, published / "gone.pkl")


def test_flame_is_found_in_the_store_of_assets(published, tmp_path):
    store = tmp_path / "assets"
    store.mkdir()
    for name in ("generic_model.pkl", "landmark_embedding.npy"):
        (store / name).hardlink_to(published / "flame" / name)
    assert find_transfer("flame2020", load_avatar("demo")).transfer.source == "flame2020"


def test_landmarks_come_from_beside_the_head_or_are_asked_for(bare, published):
    found = find_transfer("arkit52", bare)
    assert found.transfer is None
    assert (
        "generic_model.pkl: the flame2020 head has no landmarks" in found.reason
        and "landmark_embedding.npy" in found.reason
    )
    assert find_blink(bare) is None
    shutil.copy(published / "flame" / "landmark_embedding.npy", bare.path)
    assert find_transfer("arkit52", bare).transfer is not None
    assert find_blink(bare).columns.shape == (2, 50)


def test_landmarks_are_borrowed_from_another_file_of_the_same_mesh(bare, published):
    assert find_transfer("arkit52", bare, published / "flame").transfer.source == "arkit52"


def test_landmarks_of_another_mesh_are_refused(bare):
    rows = np.random.default_rng(0).integers(0, 20000, 51)
    content = {"static_lmk_faces_idx": rows, "static_lmk_bary_coords": np.full((51, 3), 1 / 3)}
    np.save(bare.path / "landmark_embedding.npy", np.array(content, dtype=object), allow_pickle=True)
    found = find_transfer("arkit52", bare)
    assert found.transfer is None
    assert "are not on its face: get landmark_embedding.npy of this very mesh" in found.reason


def test_one_basis_needs_nothing(trained):
    assert find_transfer("flame2020", trained).transfer is None
    assert find_blink(load_avatar("demo")) is None


def test_an_avatars_head_has_its_persons_identity():
    imara = load_avatar("demo-imara")
    head = avatar_person(imara)
    assert head.shape_dirs.shape[-1] == 0
    assert np.abs(head.v_template - FlameModel.load(imara.head_path).v_template).max() > 1e-3
    with pytest.raises(MarotteError, match="names no head model"):
        avatar_person(replace(imara, head=""))


def test_a_transfer_is_kept_and_a_damaged_one_solved_again(trained, monkeypatch):
    first = find_transfer("arkit52", trained).transfer
    (path,) = kept()
    assert path.suffix == ".npz"
    with monkeypatch.context() as patch:
        patch.setattr(solving, "solve", lambda *heads: pytest.fail("it was there"))
        again = find_transfer("arkit52", trained).transfer
    assert np.array_equal(first.expression, again.expression) and first.residuals == again.residuals
    assert (first.jaw_gain, first.method, first.own_lids) == (again.jaw_gain, again.method, again.own_lids)
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert np.array_equal(find_transfer("arkit52", trained).transfer.expression, first.expression)
    assert path.read_bytes() == whole
    asked = []
    monkeypatch.setattr(solving, "solve", lambda *heads: asked.append(heads) or first)
    for damage in (whole[: len(whole) // 2], b"not an npz"):
        path.write_bytes(damage)
        assert np.array_equal(find_transfer("arkit52", trained).transfer.expression, first.expression)
        assert path.read_bytes() == whole
    assert len(asked) == 2


def test_bounds_are_kept_too(published):
    demo = load_avatar("demo")
    first, again = (find_transfer("flame2020", demo, published / "flame").transfer for _ in range(2))
    unit = np.random.default_rng(0).normal(size=100)
    assert first is not again
    assert all(np.array_equal(a, b) for a, b in zip(first.coefficients(unit), again.coefficients(unit), strict=True))


def test_another_head_is_another_transfer(trained, published):
    head = avatar_person(trained)
    demo = FlameModel.load(load_avatar("demo").head_path)
    marked = FlameModel.load(
        published / "flame" / "generic_model.pkl",
        n_shape=0,
        n_expression=50,
        basis="flame2020",
        landmarks=published / "flame" / "landmark_embedding.npy",
    )
    assert head.v_template.shape == marked.v_template.shape
    for target in (marked, replace(marked, v_template=marked.v_template * np.float32(1.01))):
        solved(demo, target)
    assert len(kept()) == 2


def test_no_cache_is_no_obstacle(trained, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAROTTE_CACHE", str(tmp_path / "file"))
    assert find_transfer("arkit52", trained).transfer is not None
