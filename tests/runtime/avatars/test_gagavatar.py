"""GAGAvatars: what an import keeps of a tracked picture, and the one line that it says of whatever does not belong."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.safe_files import read_any
from marotte.models.torch_writer import write_torch
from marotte.runtime.avatar import load_avatar
from marotte.runtime.avatars.check import check_avatar
from marotte.runtime.avatars.entry import read_entry, read_source
from marotte.runtime.avatars.export import export_tracked
from marotte.runtime.avatars.gagavatar import import_gagavatar, network_file
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.kinds import import_avatar, kind_of
from marotte.runtime.cameras import read_cameras
from marotte.runtime.splats import avatar_head, avatar_identity

CODES = ("expcode", "posecode", "eyecode", "bbox")
BASIL = Given(entry="basil.jpg")


def entries(standin):
    return {name: dict(item) for name, item in read_any(standin / "tracked.pt").items()}


def one(standin):
    return entries(standin)["basil.jpg"]


def test_the_stand_in_is_in_the_published_forms(standin):
    flame = FlameModel.load(standin / "FLAME_with_eye.pt", basis="flame2020")
    assert flame.v_template.shape == (5023, 3) and flame.expression_dirs.shape == (5023, 3, 100)
    assert flame.shape_dirs.shape == (5023, 3, 300)
    np.testing.assert_allclose(flame.joint_regressor.sum(axis=1), 1, atol=1e-4)
    # Thinning keeps the surface: no edge is on more than two faces, and every vertex is on one.
    edges = np.sort(np.concatenate([flame.faces[:, [i, (i + 1) % 3]] for i in range(3)]), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() == 2 and len(np.unique(flame.faces)) == 5023
    torch = pytest.importorskip("torch")
    from marotte.models.gagavatar.forehead import FOREHEAD

    held = flame.v_template[list(FOREHEAD)]
    brows = flame.landmarks3d(flame.v_template[None])[0, 17:27]
    assert (held[:, 1] > brows[:, 1].mean()).mean() > 0.9 and (held[:, 2] > 0).all()
    loaded = torch.load(standin / "tracked.pt", weights_only=True)
    assert loaded["imara.jpg"]["image"].shape == (3, 512, 512)


def test_what_is_kept(standin, store):
    seen = []
    given = Given(entry="basil.jpg", subject="nobody", consent="not needed", licence="CC0")
    done = import_avatar(standin, given, look=lambda avatar: seen.append(avatar.path.name))
    avatar = load_avatar("basil")
    assert avatar == done.avatar and seen[0].startswith(".basil.")
    assert (avatar.renderer, avatar.basis, avatar.expressions, avatar.unit) == ("gagavatar", "flame2020", 100, 5.0)
    assert (avatar.head_rotation, avatar.pivot, avatar.size) == ("camera", (0.0, 0.0, 0.0), (512, 512))
    assert (avatar.network, avatar.source) == ("GAGAvatar/GAGAvatar.pt", "source.npz")
    assert "CC0" in avatar.licence and "FLAME" in avatar.licence and avatar.subject == "nobody"
    given_entry = one(standin)
    with np.load(avatar.path / avatar.source) as kept:
        assert kept["image"].dtype == np.uint8  # the picture is one of bytes
        image = kept["image"].astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(image, given_entry["image"])
        for name in ("transform_matrix", "shapecode", *CODES):
            np.testing.assert_array_equal(kept[name], given_entry[name], err_msg=name)
    np.testing.assert_array_equal(avatar_identity(avatar), given_entry["shapecode"])
    shown = np.asarray(Image.open(avatar.path / "source.png"))
    np.testing.assert_array_equal(np.moveaxis(shown, -1, 0), (image * 255).round())
    flame, head = FlameModel.load(standin / "FLAME_with_eye.pt", basis="flame2020"), avatar_head(avatar)
    for name in ("v_template", "faces", "shape_dirs", "expression_dirs", "pose_dirs", "skinning_weights"):
        np.testing.assert_array_equal(getattr(head, name), getattr(flame, name), err_msg=name)
    files = {p.relative_to(avatar.path).as_posix() for p in avatar.path.rglob("*") if p.is_file()}
    assert avatar.files.keys() == files - {"avatar.toml"} and list(store.iterdir()) == [avatar.path]
    found = "; ".join(check_avatar(avatar))
    assert "basil.jpg: 512x512" in found and "5023" in found and "marotte assets fetch GAGAvatar/GAGAvatar.pt" in found


def test_the_framing_sees_the_head_where_its_camera_does(standin, store):
    avatar = import_avatar(standin, BASIL).avatar
    camera = read_cameras(standin / "tracked.pt", "gagavatar").cameras[0]
    middle = np.array([[0.0, 0.0, 0.0], [0.1, 0.3, 0.0]])
    again = avatar.framing("head").camera(512, 512)
    np.testing.assert_allclose(again.project(middle), camera.project(middle), atol=0.05)  # basil looks ahead


def test_a_picture_that_is_not_of_bytes_stays_exact(standin, store, tmp_path):
    entry = one(standin)
    entry["image"] = np.sqrt(entry["image"])
    write_torch(tmp_path / "a.pt", {"anna.png": entry})
    avatar = import_avatar(tmp_path / "a.pt", Given(flame=standin / "FLAME_with_eye.pt")).avatar
    assert avatar.name == "anna"
    np.testing.assert_array_equal(read_source(avatar.path / "source.npz").image, entry["image"])


@pytest.mark.parametrize("form", ["pt", "pkl", "npz", "lists", "numpy_pt", "nested_pkl"])
def test_every_form_of_one_entry(standin, store, tmp_path, form):
    entry = one(standin)
    path = tmp_path / {"pt": "x.pt", "npz": "x.npz", "numpy_pt": "x.pt"}.get(form, "x.pkl")
    if form == "pt":
        write_torch(path, entry)
    elif form == "npz":
        np.savez(path, **entry)
    elif form == "numpy_pt":
        torch = pytest.importorskip("torch")
        torch.save({"x.jpg": {name: np.array(value) for name, value in entry.items()}}, path)
    else:
        plain = {name: np.array(value) for name, value in entry.items()}
        if form == "lists":
            plain = {name: value.tolist() for name, value in plain.items() if name != "image"} | {
                "image": plain["image"].astype(np.float64)
            }
        path.write_bytes(pickle.dumps({"x.jpg": plain} if form == "nested_pkl" else plain))
    assert kind_of(path) == "gagavatar" and kind_of(tmp_path) == "gagavatar"
    avatar = import_avatar(tmp_path, Given(flame=standin / "FLAME_with_eye.pt")).avatar
    assert avatar.name == "x"
    kept = read_source(avatar.path / "source.npz")
    for name in ("image", "transform_matrix", "shapecode"):
        np.testing.assert_array_equal(getattr(kept, name), entry[name], err_msg=name)


def test_it_leaves_as_it_came(standin, store, tmp_path):
    avatar = import_avatar(standin, Given(entry="imara.jpg", name="i")).avatar
    path = export_tracked(avatar, tmp_path / "out.pt")
    again, came = read_any(path), entries(standin)["imara.jpg"]
    assert list(again) == ["imara.jpg"] and again["imara.jpg"].keys() == came.keys()
    for name, value in came.items():
        np.testing.assert_array_equal(again["imara.jpg"][name], value, err_msg=name)
        assert again["imara.jpg"][name].dtype == np.float32
    assert len(read_cameras(path)) == 1
    torch = pytest.importorskip("torch")
    assert torch.load(path, weights_only=True)["imara.jpg"]["image"].dtype == torch.float32
    with pytest.raises(MarotteError, match=r"must end in \.pt"):
        export_tracked(avatar, tmp_path / "out")
    with pytest.raises(MarotteError, match="no tracked picture"):
        export_tracked(load_avatar("demo"), tmp_path / "demo.pt")


def drop(name):
    return lambda entry: entry.pop(name)


def change(name, function):
    def apply(entry):
        entry[name] = np.asarray(function(np.array(entry[name])))

    return apply


def flipped(matrix):
    matrix[:, 0] *= -1
    return matrix


def moved(value):
    def apply(matrix):
        matrix[2, 3] = value
        return matrix

    return apply


def aside(matrix):
    matrix[0, 3] = 2
    return matrix


def from_behind(matrix):
    matrix[:, :3] = np.diag([-1, 1, -1]) @ matrix[:, :3]
    return matrix


def holed(values):
    values.reshape(-1)[7] = np.nan
    return values


WRONG = {
    "no camera": (drop("transform_matrix"), "basil.jpg lacks transform_matrix: GAGAvatar_track"),
    "no picture": (drop("image"), "lacks image"),
    "no identity": (drop("shapecode"), "lacks shapecode"),
    "small": (change("image", lambda v: v[:, ::2, ::2]), r"shape \[3, 256, 256\], expected \[3, 512, 512\]"),
    "colours last": (change("image", lambda v: np.moveaxis(v, 0, -1)), "put the colours first"),
    "bytes": (change("image", lambda v: np.rint(v * 255).astype(np.uint8)), "divide it by 255"),
    "0..255": (change("image", lambda v: v * 255), r"goes from 0 to .*divide it by 255"),
    "-1..1": (change("image", lambda v: 2 * v - 1), r"from -1 to .*GAGAvatar_track .* writes 0\.\.1"),
    "hole": (change("image", holed), r"basil.jpg.image has a value that is NaN"),
    "hole in the camera": (change("transform_matrix", holed), "transform_matrix has a value that is NaN"),
    "mirrored": (change("transform_matrix", flipped), "no rotation in it .determinant -1"),
    "scaled": (change("transform_matrix", lambda v: 2 * v), "no rotation in it"),
    "whole matrix": (change("transform_matrix", lambda v: np.vstack([v, [0, 0, 0, 1]])), r"expected \[3, 4\]"),
    "FLAME's unit": (change("transform_matrix", moved(1.82)), "t_z 1.82: that is FLAME's own unit, multiply t by 5"),
    "behind": (change("transform_matrix", moved(-9.0)), "behind the camera"),
    "millimetres": (change("transform_matrix", moved(9000.0)), "t_z 9000: no head of FLAME times 5"),
    "aside": (change("transform_matrix", aside), "outside the picture of 512x512"),
    "from behind": (change("transform_matrix", from_behind), "sees the head from behind"),
    "few coefficients": (change("shapecode", lambda v: v[:100]), r"shape \[100\], expected \[300\]"),
    "text": (lambda entry: entry.update(shapecode="no"), "not an array of numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_entry_is_one_line(standin, store, tmp_path, case):
    damage, words = WRONG[case]
    content = entries(standin)
    damage(content["basil.jpg"])
    write_torch(tmp_path / "tracked.pt", content)
    with pytest.raises(MarotteError, match=words) as caught:
        import_avatar(tmp_path / "tracked.pt", Given(entry="basil.jpg", flame=standin / "FLAME_with_eye.pt"))
    assert "\n" not in str(caught.value) and not store.exists()
    # The other is whole, and is none the worse for it.
    assert read_entry(tmp_path / "tracked.pt", "imara.jpg").name == "imara.jpg"


def test_a_wrong_entry_beside_leaves_the_import_alone(standin, store, tmp_path):
    content = entries(standin)
    WRONG["scaled"][0](content["basil.jpg"])
    write_torch(tmp_path / "tracked.pt", content)
    flame = standin / "FLAME_with_eye.pt"
    with pytest.raises(MarotteError):
        import_avatar(tmp_path / "tracked.pt", Given(entry="basil.jpg", flame=flame))
    assert import_avatar(tmp_path / "tracked.pt", Given(entry="imara.jpg", flame=flame)).avatar.name == "imara"


def test_which_one(standin, store, tmp_path):
    with pytest.raises(MarotteError, match=r"holds 2 tracked pictures: name one with --entry \(basil.jpg, imara.jpg\)"):
        import_avatar(standin / "tracked.pt")
    with pytest.raises(MarotteError, match=r"did you mean 'basil\.jpg'"):
        import_avatar(standin / "tracked.pt", Given(entry="basi.jpg"))
    many = {f"{i}.jpg": one(standin) for i in range(15)}
    write_torch(tmp_path / "many.pt", many)
    with pytest.raises(MarotteError, match=r"0\.jpg, 1\.jpg.*11\.jpg and 3 more"):
        read_entry(tmp_path / "many.pt")
    given = Given(entry="11.jpg", flame=standin / "FLAME_with_eye.pt")
    assert import_avatar(tmp_path / "many.pt", given).avatar.name == "gagavatar-11"
    shutil.copy(tmp_path / "many.pt", tmp_path / "more.pt")
    with pytest.raises(MarotteError, match=r"holds many\.pt, more\.pt: name one of these files"):
        import_avatar(tmp_path, given)


def test_what_is_no_tracked_picture(standin, store, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.jpg")
    with pytest.raises(MarotteError, match=r"photo\.jpg is a picture that is not tracked: GAGAvatar_track"):
        import_avatar(tmp_path / "photo.jpg")
    with pytest.raises(MarotteError, match="is a picture that is not tracked"):
        import_avatar(tmp_path / "photo.jpg", kind="gagavatar")
    write_torch(tmp_path / "other.pt", {"model": {"weight": np.zeros(3, np.float32)}})
    with pytest.raises(MarotteError, match=r"holds model, none of it a tracked picture: GAGAvatar_track"):
        import_avatar(tmp_path / "other.pt", Given(flame=standin / "FLAME_with_eye.pt"), kind="gagavatar")
    write_torch(tmp_path / "other.pt", np.zeros(3, np.float32))
    with pytest.raises(MarotteError, match="holds a ndarray, not tracked pictures"):
        import_avatar(tmp_path / "other.pt", Given(flame=standin / "FLAME_with_eye.pt"), kind="gagavatar")
    (tmp_path / "bad.pkl").write_bytes(b"\x80\x04cos\nsystem\n(U\x04exittR.")
    with pytest.raises(MarotteError, match="refused"):
        import_avatar(tmp_path / "bad.pkl", Given(flame=standin / "FLAME_with_eye.pt"), kind="gagavatar")
    with pytest.raises(MarotteError, match="is not there"):
        import_avatar(tmp_path / "nowhere.pt")
    with pytest.raises(MarotteError, match=r"marotte assets fetch GAGAvatar/tracked\.pt"):
        import_avatar("GAGAvatar/tracked.pt")
    with pytest.raises(MarotteError, match="kind of avatar"):
        import_avatar(standin, BASIL, kind="gagavatr")
    black = one(standin) | {"image": np.zeros((3, 512, 512), np.float32)}
    write_torch(tmp_path / "black.pt", {"b.jpg": black})
    done = import_avatar(tmp_path / "black.pt", Given(flame=standin / "FLAME_with_eye.pt"))
    assert any("black all over" in note for note in done.notes)


def test_flame(standin, store, tmp_path, trained, monkeypatch):
    # Far from other tests' folders: FLAME is looked for near PATH.
    tmp_path = tmp_path / "p" / "q" / "r" / "s"
    tmp_path.mkdir(parents=True)
    shutil.copy(standin / "tracked.pt", tmp_path / "tracked.pt")
    with pytest.raises(MarotteError, match=r"FLAME_with_eye.pt or generic_model.pkl.*flame.is.tue.mpg.de"):
        import_avatar(tmp_path / "tracked.pt", BASIL)
    with pytest.raises(MarotteError, match="has 674 vertices, GAGAvatar has a Gaussian for each of FLAME's 5023"):
        import_avatar(standin, Given(entry="basil.jpg", flame=trained.flame))
    other = tmp_path / "flame2023.pt"
    shutil.copy(standin / "FLAME_with_eye.pt", other)
    with pytest.raises(MarotteError, match="FLAME 2023, GAGAvatar was trained with FLAME 2020"):
        import_avatar(standin, Given(entry="basil.jpg", flame=other))
    monkeypatch.setenv("MAROTTE_FLAME", str(standin / "FLAME_with_eye.pt"))
    assert import_avatar(tmp_path / "tracked.pt", BASIL).avatar.name == "basil"


def test_the_network(standin, store, tmp_path):
    with pytest.raises(MarotteError, match=r"--network .* is no file"):
        import_avatar(standin, Given(entry="basil.jpg", network=tmp_path / "no.pt"))
    own = tmp_path / "own.pt"
    own.touch()
    avatar = import_avatar(standin, Given(entry="basil.jpg", network=own)).avatar
    assert network_file(avatar) == (own.resolve(), "") and Path(avatar.network).is_absolute()
    assert "its network is" in check_avatar(avatar)[-1]
    own.unlink()
    assert "is not there: get it" in check_avatar(avatar)[-1]


def test_damage_to_what_is_kept_is_found(standin, store):
    avatar = import_avatar(standin, BASIL).avatar
    np.save(avatar.path / "shape.npy", np.ones(300, np.float32))
    with pytest.raises(MarotteError, match=r"not the file that avatar\.toml describes"):
        check_avatar(avatar)
    toml = avatar.path / "avatar.toml"
    toml.write_text(toml.read_text().partition("[files]")[0])
    with pytest.raises(MarotteError, match="two identities"):
        check_avatar(load_avatar(avatar.path))


def test_what_a_kind_does_not_read_is_refused(standin, store, trained):
    with pytest.raises(MarotteError, match="--identity is for splatting-avatar, this is gagavatar"):
        import_avatar(standin, Given(entry="basil.jpg", identity="canonical"))
    with pytest.raises(MarotteError, match="--entry is for gagavatar, this is splatting-avatar"):
        import_avatar(trained.model, BASIL)
    with pytest.raises(MarotteError, match="--mask is for metrical-tracker's frames"):
        import_avatar(standin, Given(entry="basil.jpg", mask=standin))
    assert kind_of(trained.model) == "splatting-avatar"


@pytest.mark.parametrize("way", ["model", "point_cloud", "iteration", "settings"])
def test_a_gaussian_talker_is_told_apart(tmp_path, way):
    iteration = tmp_path / "point_cloud" / "iteration_8000"
    iteration.mkdir(parents=True)
    if way != "settings":
        (iteration / "deformation.pth").touch()
    (tmp_path / "cfg_args").write_text("Namespace(kplanes_config={'grid_dimensions': 2})")
    path = {"point_cloud": iteration.parent, "iteration": iteration}.get(way, tmp_path)
    assert kind_of(path) == "gaussian-talker"
    (tmp_path / "cfg_args").write_text("Namespace(sh_degree=3)")
    if way == "settings":
        assert kind_of(tmp_path) == "splatting-avatar"  # whose import says what it is


def test_what_the_look_raises_undoes_the_import(standin, store):
    def refuse(avatar):
        raise MarotteError("no")

    with pytest.raises(MarotteError, match="no"):
        import_gagavatar(standin, BASIL, look=refuse)
    assert not list(store.iterdir())
