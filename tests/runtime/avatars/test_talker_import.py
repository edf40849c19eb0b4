"""A trained GaussianTalker becomes an avatar, keeps what drawing needs byte for byte, and leaves as it came."""

import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.ply import read_ply_vertices, write_ply_vertices
from marotte.models.safe_files import read_torch
from marotte.models.torch_writer import write_torch
from marotte.runtime.avatar import load_avatar
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.kinds import kind_of
from marotte.runtime.avatars.talker import check_talker, export_talker, import_talker, talker_files
from marotte.runtime.recording import read_recording

CLOUD = Path("model/point_cloud/iteration_10000")


@pytest.fixture
def person(trained_talker, tmp_path) -> Path:
    return Path(shutil.copytree(trained_talker, tmp_path / "someone"))


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def imported(person, store):
    return import_talker(person / "model", store=store)


def refusal(person, store, **given) -> str:
    with pytest.raises(MarotteError) as caught:
        import_talker(person / "model", Given(**given), store=store)
    text = str(caught.value)
    assert "\n" not in text and not (store.exists() and any(store.iterdir()))
    return text


def test_what_the_avatar_says(imported, store):
    avatar = imported.avatar
    assert avatar.path == store / "someone" and avatar.renderer == "gaussian-talker" and avatar.basis == "none"
    assert avatar.features == "deepspeech" and avatar.fps == Fraction(25) and avatar.size == (32, 24)
    assert avatar.background == "own" and avatar.head_rotation == "root" and avatar.unit == 10
    facts = dict(imported.facts)
    assert facts["Gaussians"].startswith("7,") and facts["recording"].startswith("2 frames (val), 32x24")
    assert imported.notes == ()
    assert check_talker(avatar)[1:] == ["2 frames of 32x24", "2 torsos as described"]


def test_what_is_kept_is_as_it_was(imported, person):
    files = talker_files(imported.avatar)
    for name in (
        "cfg_args",
        "point_cloud/iteration_10000/point_cloud.ply",
        "point_cloud/iteration_10000/deformation.pth",
    ):
        assert (files.model / name).read_bytes() == (person / "model" / name).read_bytes()
    for name in ("transforms_val.json", "bc.jpg", "torso_imgs/10.png", "torso_imgs/11.png", "aud_ds.npy"):
        assert (files.data / name).read_bytes() == (person / "data" / name).read_bytes()
    assert len(list((files.data / "torso_imgs").iterdir())) == 2 and not (files.data / "transforms_train.json").exists()
    before, after = read_recording(person / "data", "val"), read_recording(files.data, files.frames)
    assert after.ids == before.ids
    for name in ("euler", "translation", "blinks"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.behind(1), before.behind(1))
    assert (files.data / "au.csv").read_text().startswith("frame, AU45_r\n1, 0.00\n")
    # The published reader takes the mean mesh's extent from it.
    np.testing.assert_array_equal(read_torch(files.data / "track_params.pt")["vertices"], [[[2, 3, 4], [-2, -3, -4]]])
    assert read_torch(files.data / "track_params.pt")["focal"].tolist() == [90]


@pytest.mark.parametrize(("frames", "count"), [("train", 10), ("all", 12)])
def test_other_frames(person, store, frames, count):
    done = import_talker(person / "model", Given(frames=frames), store=store)
    files = talker_files(done.avatar)
    assert len(read_recording(files.data, files.frames)) == count
    assert len(list((files.data / "torso_imgs").iterdir())) == count
    assert f"{count} frames ({frames})" in dict(done.facts)["recording"]


def test_the_recording_is_found_near_the_model(person, store, tmp_path, monkeypatch):
    cfg = person / "model" / "cfg_args"
    for named in (
        f"{'x' * 5000}/data",
        "/gone/away/data",
        "recordings/data",
        "C:\\\\films\\\\data\\\\",
        str(person / "data"),
    ):
        cfg.write_text(f"Namespace(source_path='{named}')")
        import_talker(person / "model", Given(replace=True), store=store)
    shutil.move(person / "data", tmp_path / "elsewhere")
    cfg.write_text("Namespace(source_path='elsewhere')")
    deep = person.rename(tmp_path / "a") and shutil.move(tmp_path / "a", tmp_path / "b" / "c" / "d")
    monkeypatch.chdir(tmp_path)
    import_talker(Path(deep) / "model", Given(replace=True, name="someone"), store=store)


def test_a_given_recording_features_and_texts(person, store, tmp_path):
    shutil.move(person / "data", tmp_path / "film")
    told = "is not here: its cfg_args names 'data'"
    assert told in refusal(person, store)
    assert "has no track_params.pt" in refusal(person, store, data=tmp_path)
    given = Given(
        name="ann",
        data=tmp_path / "film",
        features=" my phones ",
        subject="Ann",
        consent="yes",
        licence="mine",
        title="A",
    )
    avatar = import_talker(person / "model", given, store=store).avatar
    assert (avatar.name, avatar.features, avatar.title) == ("ann", "my phones", "A")
    assert (avatar.subject, avatar.consent, avatar.licence) == ("Ann", "yes", "mine")


def test_without_settings_the_recording_must_be_named(person, store):
    (person / "model" / "cfg_args").unlink()
    assert "nothing says where the recording" in refusal(person, store)
    done = import_talker(person / "model", Given(data=person / "data"), store=store)
    assert "2 are taken, as published" in done.notes[0]


def test_settings_and_network_from_elsewhere(person, store, tmp_path):
    shutil.move(person / "model" / "cfg_args", tmp_path / "settings")
    shutil.move(person / CLOUD / "deformation.pth", tmp_path / "other.pth")
    shutil.copyfile(tmp_path / "other.pth", person / CLOUD / "deformation.pth")
    given = Given(configs=(tmp_path / "settings",), network=tmp_path / "other.pth")
    files = talker_files(import_talker(person / "model", given, store=store).avatar)
    assert (files.model / "cfg_args").read_bytes() == (tmp_path / "settings").read_bytes()
    assert "one, cfg_args" in refusal(person, tmp_path / "none", configs=(tmp_path / "settings",) * 2)


def test_the_torso_branch(person, store):
    shutil.rmtree(person / "data" / "torso_imgs")
    done = import_talker(person / "model", store=store)
    assert "branch torso" in done.notes[0] and dict(done.facts)["behind it"] == "a plain background"
    assert not read_recording(talker_files(done.avatar).data).has_torsos
    assert len(check_talker(done.avatar)) == 2


def test_large_sound_features_stay_where_they_are(person, store, monkeypatch):
    monkeypatch.setattr("marotte.runtime.recording_copy._MOST_SOUND", 100)
    done = import_talker(person / "model", store=store)
    assert "aud_ds.npy is not copied" in done.notes[0]
    assert not (talker_files(done.avatar).data / "aud_ds.npy").exists()


def altered(person, **entries):
    path = person / CLOUD / "deformation.pth"
    whole = {**read_torch(path), **{f"deformation_net.{name}": array for name, array in entries.items()}}
    write_torch(path, {name: array for name, array in whole.items() if array is not None})


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"eye_att_net.net.0.weight": None}, "1 missing: deformation_net.eye_att_net.net.0.weight"),
        ({"pos_deform.3.bias": np.zeros(4, np.float32)}, "pos_deform.3.bias [4] (expected [3])"),
        ({"static_mlp.1.weight": np.zeros((64, 64), np.float32)}, "static_mlp cannot run"),
        ({"extra": np.zeros(3, np.float32)}, "not GaussianTalker's: deformation_net.extra"),
        ({"pos_deform.3.bias": np.array([0, np.nan, 0], np.float32)}, "NaN"),
        ({"pos_deform.3.bias": np.zeros(3, np.int64)}, "not of real numbers"),
        ({"tri_plane.grid.aabb": np.zeros((2, 3), np.float32)}, "largest corner"),
        ({"null_vector": None}, "no GaussianTalker network"),
    ],
)
def test_a_network_that_is_another(person, store, entries, said):
    altered(person, **entries)
    text = refusal(person, store)
    assert said in text and "deformation.pth" in text


@pytest.mark.parametrize("noted", ["d_model=512", "n_layer=2", "n_head=3", "apply_rotation=True", "sh_degree=1"])
def test_settings_of_other_sizes_than_the_weights(person, store, noted):
    (person / "model" / "cfg_args").write_text(f"Namespace({noted}, source_path='data')")
    assert noted.partition("=")[0] in refusal(person, store)


def test_files_that_are_damaged(person, store):
    path = person / CLOUD / "deformation.pth"
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(data)
        assert "deformation.pth" in refusal(person, store)
    write_torch(path, [1, 2])
    assert "not a flat dictionary" in refusal(person, store)
    path.unlink()
    assert "deformation.pth" in refusal(person, store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: {k: v for k, v in c.items() if k != "rot_3"}, "no rot_3"),
        (lambda c: {k: v for k, v in c.items() if k != "f_rest_44"}, "44 f_rest_*, expected 45"),
        (lambda c: {k: v[:0] for k, v in c.items()}, "no Gaussians"),
        (lambda c: {**c, "opacity": np.where(np.arange(7) == 2, np.inf, c["opacity"])}, "opacity inf at 2"),
    ],
)
def test_another_point_cloud(person, store, change, said):
    path = person / CLOUD / "point_cloud.ply"
    write_ply_vertices(path, change(read_ply_vertices(path)))
    assert said in refusal(person, store)


def test_a_network_in_torchs_old_form(person, store):
    """It could be read here, but not mapped when the avatar is drawn."""
    torch = pytest.importorskip("torch", reason="torch writes the old form")
    path = person / CLOUD / "deformation.pth"
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    assert "old form" in refusal(person, store)


def test_a_torso_that_was_cut_short(person, store):
    path = person / "data" / "torso_imgs" / "11.png"
    path.write_bytes(path.read_bytes()[:-8])
    assert "11.png is cut short" in refusal(person, store)


def test_recordings_that_do_not_fit_stop_the_import(person, store):
    (person / "data" / "torso_imgs" / "11.png").unlink()
    assert "11.png is missing" in refusal(person, store)
    assert "frames of a recording" in refusal(person, store, frames="some")


def test_what_is_shown_whole_may_undo_it(person, store):
    seen = []

    def look(avatar):
        seen.append(talker_files(avatar).data.is_dir())
        raise MarotteError("no")

    with pytest.raises(MarotteError, match="no"):
        import_talker(person / "model", store=store, look=look)
    assert seen == [True] and not any(store.iterdir())


def test_it_leaves_as_it_came_and_comes_back(imported, person, store, tmp_path):
    out = export_talker(imported.avatar, tmp_path / "out")
    for name in ("deformation.pth", "point_cloud.ply"):
        assert (out / CLOUD / name).read_bytes() == (person / CLOUD / name).read_bytes()
    assert not list((out / "data").glob("*.sha256"))
    again = import_talker(out / "model", Given(name="again"), store=store).avatar
    assert again.files == imported.avatar.files
    # Neither needs the place that the training named, nor the model's own folder.
    (out / "model" / "cfg_args").write_text("Namespace(source_path='/gone/anna')")
    moved = import_talker(out, Given(name="moved"), store=store).avatar
    assert kind_of(out) == "gaussian-talker" and len(read_recording(talker_files(moved).data)) == 2
    with pytest.raises(MarotteError, match="is there already"):
        export_talker(again, out)
    with pytest.raises(MarotteError, match="no folder"):
        export_talker(again, tmp_path / "no" / "where")
    with pytest.raises(MarotteError, match="no GaussianTalker"):
        export_talker(replace(again, renderer="mesh"), tmp_path / "mesh")


def test_changed_and_missing_files_are_noticed(imported):
    avatar = imported.avatar
    torso = talker_files(avatar).data / "torso_imgs" / "10.png"
    torso.write_bytes((torso.parent / "11.png").read_bytes())
    with pytest.raises(MarotteError, match=r"10\.png is not the picture"):
        check_talker(avatar)
    with pytest.raises(MarotteError, match="names no network"):
        talker_files(replace(avatar, network=""))
    with pytest.raises(MarotteError, match="names no recording"):
        talker_files(replace(avatar, recording=""))
    with pytest.raises(MarotteError, match="lacks its folder"):
        talker_files(replace(avatar, recording="gone"))
    with pytest.raises(MarotteError, match="an avatar already"):
        import_talker(avatar.path)
    (avatar.path / "recording" / "bc.jpg").unlink()
    with pytest.raises(MarotteError, match=r"bc\.jpg"):
        load_avatar(avatar.path)


def test_a_talker_in_one_file_is_unpacked(imported, monkeypatch):
    avatar = replace(imported.avatar, network="talker.safetensors", recording="")
    monkeypatch.setattr("marotte.runtime.avatars.talker_expand.expand", lambda avatar: Path("unpacked"))
    files = talker_files(avatar)
    assert (files.model, files.data) == (Path("unpacked/model"), Path("unpacked/data"))


def test_torch_is_not_needed(trained_talker, tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from marotte.runtime.avatars.talker import check_talker, import_talker\n"
        f"check_talker(import_talker({str(trained_talker / 'model')!r}, store={str(tmp_path)!r}).avatar)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
