"""What an import writes, what it finds by itself, and the one line that it says of whatever does not belong."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.ply import read_ply_vertices, write_ply_vertices
from marotte.models.torch_writer import write_torch
from marotte.runtime.avatar import avatar_folders, load_avatar
from marotte.runtime.avatars.check import check_avatar
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.splatting import import_splatting_avatar
from marotte.runtime.avatars.toml import avatar_text
from marotte.runtime.splats import avatar_head, avatar_identity, avatar_splats


def test_what_is_written(trained, store):
    seen = []
    given = Given(subject="Anna", consent="signed", licence="private")
    done = import_splatting_avatar(trained.model, given, look=lambda avatar: seen.append(avatar.path.name))
    avatar = load_avatar("anna")
    assert avatar == done.avatar and avatar.path == store / "anna" and seen[0].startswith(".anna.")
    assert (avatar.renderer, avatar.basis, avatar.expressions, avatar.unit) == (
        "splatting-avatar",
        "flame2020",
        50,
        4.0,
    )
    table = json.loads(trained.params.read_text())
    level = np.abs([frame["expression"] for frame in table["frames"]]).mean()
    assert avatar.expression_level == pytest.approx(level, abs=1e-6)
    assert (avatar.head_rotation, avatar.size, avatar.background) == ("neck", (160, 200), "#ffffff")
    assert (avatar.subject, avatar.consent) == ("Anna", "signed")
    assert "private" in avatar.licence and "FLAME" in avatar.licence
    # The camera sees the head as the training's did: 200 of the shorter side's 160 pixels are 1.2 m * 4 * 200 / 480.
    head = avatar.framing("head")
    assert head.distance == pytest.approx(4.8, abs=0.2) and head.height == pytest.approx(4.8 * 160 / 480, rel=0.05)
    assert {"head", "bust"} <= avatar.framings.keys()
    for name in ("point_cloud.ply", "embedding.json", "embedding.obj"):
        assert (avatar.path / avatar.splats / name).read_bytes() == (trained.iteration / name).read_bytes()
    assert (avatar.path / "config.yaml").read_bytes() == (trained.model / "config.yaml").read_bytes()
    files = {p.relative_to(avatar.path).as_posix() for p in avatar.path.rglob("*") if p.is_file()}
    assert avatar.files.keys() == files - {"avatar.toml"}
    assert list(store.iterdir()) == [avatar.path]
    assert "2 files" not in check_avatar(avatar)[0] and "canonical mesh is the head's" in check_avatar(avatar)[-1]
    # What is kept of FLAME is exact.
    flame = FlameModel.load(trained.flame, n_shape=100, n_expression=50, basis="flame2020")
    kept = avatar_head(avatar)
    for name in ("v_template", "faces", "shape_dirs", "expression_dirs", "pose_dirs", "joint_regressor"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(flame, name), err_msg=name)
    np.testing.assert_array_equal(avatar_identity(avatar), np.float32(table["shape_params"]))


@pytest.mark.parametrize("way", ["model", "point_cloud", "iteration", "ply", "json", "above", "link"])
def test_every_way_to_name_it(trained, store, way):
    (trained.model / "last").symlink_to(trained.model)
    path = {
        "model": trained.model,
        "point_cloud": trained.iteration.parent,
        "iteration": trained.iteration,
        "ply": trained.iteration / "point_cloud.ply",
        "json": trained.iteration / "embedding.json",
        "above": trained.root,
        "link": trained.model / "last",
    }[way]
    done = import_splatting_avatar(path, Given(name="x"))
    assert done.avatar.splats.endswith("iteration_30000") and done.avatar.expression_level > 0


def test_the_newest_iteration_by_number(trained, store):
    for name in ("iteration_7000", "iteration_9"):
        shutil.copytree(trained.iteration, trained.iteration.parent / name)
    done = import_splatting_avatar(trained.model)
    assert done.avatar.splats == "point_cloud/iteration_30000"
    done = import_splatting_avatar(trained.iteration.parent / "iteration_9", Given(name="early"))
    assert done.avatar.splats == "point_cloud/iteration_9"


def test_the_older_form_and_a_mesh_from_another_machine(trained, store):
    table = json.loads((trained.iteration / "embedding.json").read_text())
    table["mesh_fn"], table["_sample_bary"] = "C:\\runs\\anna\\embedding.obj", table.pop("sample_bary")
    del table["cano_mesh"]
    (trained.iteration / "canonical.sample.json").write_text(json.dumps(table))
    (trained.iteration / "embedding.json").unlink()
    done = import_splatting_avatar(trained.model)
    folder = done.avatar.path / done.avatar.splats
    assert json.loads((folder / "canonical.sample.json").read_text())["mesh_fn"] == "embedding.obj"
    assert any("lies beside it now" in note for note in done.notes)
    check_avatar(done.avatar)


def test_flame_is_looked_for(trained, store, monkeypatch, tmp_path):
    elsewhere = tmp_path / "licensed"
    trained.flame.parent.rename(elsewhere)
    with pytest.raises(
        MarotteError, match=r"generic_model\.pkl, which is neither .*register at https://flame.* --flame"
    ):
        import_splatting_avatar(trained.model)
    for value in (elsewhere, elsewhere / "generic_model.pkl"):
        monkeypatch.setenv("MAROTTE_FLAME", str(value))
        done = import_splatting_avatar(trained.model, Given(replace=True))
        assert done.avatar.origin.endswith("generic_model.pkl")
    monkeypatch.delenv("MAROTTE_FLAME")
    done = import_splatting_avatar(trained.model, Given(replace=True, flame=elsewhere / "generic_model.pkl"))
    assert done.avatar.basis == "flame2020"


def test_the_data_that_the_configuration_names(trained, store, tmp_path):
    trained.data.rename(tmp_path / "recording")
    config = trained.model / "config.yaml"
    config.write_text(config.read_text().replace("dataset:\n", f"dataset:\n  dat_dir: {tmp_path / 'recording'}\n", 1))
    assert import_splatting_avatar(trained.model).avatar.expression_level > 0


def test_without_data_the_mesh_gives_the_identity(trained, store):
    shape = json.loads(trained.params.read_text())["shape_params"]
    shutil.rmtree(trained.data)
    done = import_splatting_avatar(trained.model)
    np.testing.assert_allclose(avatar_identity(done.avatar), shape, atol=0.1)
    # What counts is where the vertices are. These broad waves nearly move and turn the whole head, as FLAME's do not.
    true = avatar_head(done.avatar).baked(np.float32(shape), 1.0).v_template
    found = avatar_head(done.avatar).baked(avatar_identity(done.avatar), 1.0).v_template
    assert np.abs(true - found).max() < 1e-4
    assert (done.avatar.expression_level, done.avatar.head_rotation) == (0.0, "root")
    assert any("identity was taken from the canonical mesh" in note for note in done.notes)
    assert any("no data set proves it (--basis)" in note for note in done.notes)
    assert 0.2 < done.avatar.framing("head").height / 4 < 0.7


@pytest.mark.parametrize("form", ["npy", "npz", "pt", "json", "mica", "deca"])
def test_identities_from_files(trained, store, tmp_path, form):
    shape = np.float32(json.loads(trained.params.read_text())["shape_params"])
    file = tmp_path / f"identity.{form}"
    if form == "npy":
        np.save(file, shape[None])
    elif form == "npz":
        np.savez(file, shape_params=shape)
    elif form == "pt":
        write_torch(file, {"betas": shape[None]})
    elif form == "json":
        file = shutil.copy(trained.params, tmp_path / "flame_params.json")
    elif form == "mica":
        file = tmp_path / "identity.npy"
        np.save(file, np.concatenate([shape, np.ones(200, np.float32)]))
    else:
        file = tmp_path / "codes"
        file.mkdir()
        for i in range(2):
            np.savez(file / f"{i}.npz", shape=shape[None], exp=np.zeros((1, 50)), pose=np.zeros((1, 6)))
    shutil.rmtree(trained.data)
    done = import_splatting_avatar(trained.model, Given(identity=str(file)))
    np.testing.assert_allclose(avatar_identity(done.avatar), shape, atol=1e-6)


def test_extras_beside_flame(trained, store):
    count = len(FlameModel.load(trained.flame, basis="flame2020").v_template)
    for side in "lr":
        np.save(trained.flame.parent / f"{side}_eyelid.npy", np.zeros((count, 3)))
    (trained.flame.parent / "FLAME_masks.pkl").write_bytes(b"not a pickle")
    done = import_splatting_avatar(trained.model)
    head = avatar_head(done.avatar)
    assert head.eyelid_fields is not None and not head.masks
    assert any("FLAME_masks.pkl" in note for note in done.notes)


def test_higher_degrees_and_settings(tmp_path, store, make_trained):
    root = tmp_path / "p" / "q" / "r" / "s"
    root.mkdir(parents=True)
    made = make_trained(root, degree=2, colours_outside=True, with_mesh_scaling=False)
    avatar = import_splatting_avatar(made.model).avatar
    splats = avatar_splats(avatar, avatar_head(avatar))
    assert (splats.sh_degree, splats.colours_outside, splats.with_mesh_scaling) == (2, True, False)


def test_names(trained, store):
    done = import_splatting_avatar(trained.model)
    with pytest.raises(MarotteError, match=r"there is an avatar anna at .*--replace"):
        import_splatting_avatar(trained.model)
    again = import_splatting_avatar(trained.model, Given(replace=True, title='A "quoted"\ntitle'))
    assert again.avatar.title == 'A "quoted" title' and again.avatar.files == done.avatar.files
    for name, words in (("demo", "comes with Marotte"), ("../x", "cannot be a folder's"), ("", "cannot be a folder's")):
        with pytest.raises(MarotteError, match=words):
            import_splatting_avatar(trained.model, Given(name=name, replace=True))
    (store / "other").mkdir()
    with pytest.raises(MarotteError, match="is no avatar, so it is not replaced"):
        import_splatting_avatar(trained.model, Given(name="other", replace=True))
    plain = trained.model.rename(trained.root / "output")
    assert import_splatting_avatar(plain).avatar.name == "d"


def test_the_toml_reads_back(trained, store):
    avatar = import_splatting_avatar(trained.model).avatar
    (avatar.path / "avatar.toml").write_text(avatar_text(avatar), encoding="utf-8")
    assert load_avatar("anna") == avatar


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MarotteError("no")])
def test_a_stopped_import_leaves_nothing(trained, store, stop):
    def look(avatar):
        assert (avatar.path / "avatar.toml").is_file()
        raise stop

    with pytest.raises(BaseException):  # noqa: B017, PT011
        import_splatting_avatar(trained.model, look=look)
    assert not list(store.iterdir())
    done = import_splatting_avatar(trained.model)
    before = {path: path.read_bytes() for path in done.avatar.path.rglob("*") if path.is_file()}
    with pytest.raises(BaseException):  # noqa: B017, PT011
        import_splatting_avatar(trained.model, Given(replace=True), look=look)
    assert {path: path.read_bytes() for path in done.avatar.path.rglob("*") if path.is_file()} == before
    assert list(store.iterdir()) == [done.avatar.path]


def test_a_half_made_avatar_is_no_avatar(store):
    (store / ".anna.1.part").mkdir(parents=True)
    (store / ".anna.1.part" / "avatar.toml").touch()
    assert not any(name.startswith(".") for name in avatar_folders())


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are of another kind there")
def test_a_store_that_cannot_be_written(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MarotteError, match="cannot write"):
        import_splatting_avatar(trained.model, store=tmp_path / "file")


# Files that do not belong, or are damaged.


def rewrite(path: Path, change) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def ply(**changes):
    """Change columns of the point cloud; None takes one away."""

    def change(made):
        path = made.iteration / "point_cloud.ply"
        columns = read_ply_vertices(path) | changes
        for name, value in columns.items():
            if callable(value):
                columns[name] = value(read_ply_vertices(path)[name])
        write_ply_vertices(path, {n: c for n, c in columns.items() if c is not None})

    return change


def put(array, index, value):
    changed = np.array(array)
    changed[index] = value
    return changed


def embedding(name, value):
    def change(made):
        rewrite(made.iteration / "embedding.json", lambda table: table.update({name: value(table[name])}))

    return change


def params(change):
    return lambda made: rewrite(made.params, change)


def mesh(change):
    """Change the lines of the canonical mesh."""

    def apply(made):
        path = made.iteration / "embedding.obj"
        path.write_text("\n".join(change(path.read_text().split("\n"))))

    return apply


def cut(name):
    def change(made):
        path = made.iteration / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

    return change


def swapped(lines):
    first = next(i for i, line in enumerate(lines) if line.startswith("f "))
    lines[first], lines[first + 9] = lines[first + 9], lines[first]
    return lines


def flipped(lines):
    first = next(i for i, line in enumerate(lines) if line.startswith("f "))
    a, b, c = lines[first].split()[1:]
    lines[first] = f"f {b} {a} {c}"
    return lines


def fewer_faces(lines):
    last = max(i for i, line in enumerate(lines) if line.startswith("f "))
    count = next(i for i, line in enumerate(lines) if line.endswith("triangles"))
    lines[count] = f"# {int(lines[count].split()[1]) - 1} triangles"
    return lines[:last] + lines[last + 1 :]


def scaled(factor):
    def change(lines):
        out = []
        for line in lines:
            words = line.split()
            out.append(f"v {' '.join(f'{float(w) * factor:.6f}' for w in words[1:])}" if words[:1] == ["v"] else line)
        return out

    return change


def first_frame_gone(table):
    del table["frames"][0]


def other_poses(table):
    for frame in table["frames"]:
        frame["pose"] = [value + 0.1 for value in frame["pose"]]


BAD = {
    "missing attribute": (ply(opacity=None), r"point_cloud\.ply lacks opacity"),
    "extra attribute": (ply(binding=np.zeros(400)), "does not write: binding; it is of another system"),
    "another degree": (
        ply(**{f"f_rest_{i}": np.zeros(400) for i in range(9)}),
        "SH degree 1, but model.sh_degree is 0",
    ),
    "nan": (ply(scale_1=lambda c: put(c, 7, np.nan)), "'scale_1' nan at 7"),
    "nan in the embedding": (embedding("_xyz", lambda rows: [*rows[:-1], [0, 0, float("nan")]]), "'_xyz' nan at 399"),
    "counts": (embedding("sample_bary", lambda rows: rows[:-1]), r"\[399, 3\], expected \[400, 3\]"),
    "indices": (embedding("sample_fidxs", lambda rows: [*rows[:-1], 10**6]), "to 1000000, but its mesh has .* faces"),
    "truncated ply": (cut("point_cloud.ply"), "truncated"),
    "truncated json": (cut("embedding.json"), "not valid JSON"),
    "truncated mesh": (cut("embedding.obj"), "truncated"),
    "no config": (lambda made: (made.model / "config.yaml").unlink(), "no config.yaml two folders up.*--config"),
    "faces in another order": (mesh(swapped), "another mesh topology .*face 1 joins .*the same faces in another order"),
    "faces the other way": (mesh(flipped), r"another mesh topology .*\(1 of \d+ differ, the same faces"),
    "fewer faces": (mesh(fewer_faces), "another mesh topology: it has 674 vertices"),
    "a mesh in metres": (mesh(scaled(0.25)), "it is 1 times FLAME's size, not 4 times: give --unit 1"),
    "another identity": (
        params(lambda t: t.update(shape_params=[-x for x in t["shape_params"]])),
        "identity in .*flame_params.json is another person's.*--identity canonical",
    ),
    "another recording": (params(other_poses), "no frame of .*flame_params.json has its pose"),
    "damaged data": (params(lambda t: t["frames"][1].pop("pose")), r"lacks frames\[1\]\.pose"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_belong_is_one_clear_line(trained, store, case):
    change, words = BAD[case]
    change(trained)
    with pytest.raises(MarotteError, match=words) as caught:
        import_splatting_avatar(trained.model, Given(flame=trained.flame, data=trained.data))
    assert "\n" not in str(caught.value) and not store.exists()


def test_another_flame_version(trained, store):
    with pytest.raises(
        MarotteError, match=r"flame2023\.pkl does not give .*FLAME version was used: .*generic_model\.pkl"
    ):
        import_splatting_avatar(trained.model, Given(flame=trained.other_flame))
    trained.flame.unlink()
    with pytest.raises(MarotteError, match=r"another FLAME version \(2023 in place of 2020"):
        import_splatting_avatar(trained.model)
    shutil.rmtree(trained.data)
    with pytest.raises(MarotteError, match=r"another FLAME version \(2023 in place of 2020"):
        import_splatting_avatar(trained.model)


def test_the_version_of_the_expressions_alone(published, store):
    # This stand-in's two versions differ by their expressions only, as if the trackers' basis were another.
    # The data are named: near this folder lie those of other tests.
    given = Given(flame=published / "flame/flame2023.pkl", data=published / "data", name="x")
    with pytest.raises(MarotteError, match=r"does not give .*generic_model\.pkl fits"):
        import_splatting_avatar(published / "output", given)


def test_trained_without_an_identity(tmp_path, store, make_trained):
    root = tmp_path / "p" / "q" / "r" / "s"
    root.mkdir(parents=True)
    made = make_trained(root)
    shape = json.loads(made.params.read_text())["shape_params"]
    rewrite(made.params, lambda table: table.update(shape_params=[0.0] * 100))
    with pytest.raises(MarotteError, match="another person's"):
        import_splatting_avatar(made.model)
    done = import_splatting_avatar(made.model, Given(identity="canonical", data=made.data))
    np.testing.assert_allclose(avatar_identity(done.avatar), shape, atol=0.1)
    assert done.avatar.expression_level > 0


def test_the_mesh_of_a_later_frame(trained, store):
    rewrite(trained.params, lambda table: table["frames"].insert(0, table["frames"].pop()))
    done = import_splatting_avatar(trained.model)
    assert any("that of frame 2 of the data" in note for note in done.notes)


def test_a_small_deviation_is_said(trained, store):
    mesh(scaled(1.0003))(trained)
    done = import_splatting_avatar(trained.model)
    assert any("mm off FLAME's first frame" in note for note in done.notes)


@pytest.mark.parametrize("unit", [0.0, -4.0, float("nan"), float("inf")])
def test_units_that_are_none(trained, store, unit):
    with pytest.raises(MarotteError, match="world units a metre are more than 0"):
        import_splatting_avatar(trained.model, Given(unit=unit))


def test_an_obj_with_a_byte_order_mark_and_one_that_was_cut(trained, store):
    path = trained.iteration / "embedding.obj"
    plain = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + plain)
    assert import_splatting_avatar(trained.model).avatar.name == "anna"
    path.write_bytes(plain[: plain.index(b"\nf ") + 1])
    with pytest.raises(MarotteError, match=r"obj is truncated or damaged: it notes \d+ triangles and holds 0"):
        import_splatting_avatar(trained.model, Given(replace=True))


def test_other_units(tmp_path, store, make_trained):
    root = tmp_path / "p" / "q" / "r" / "s"
    root.mkdir(parents=True)
    made = make_trained(root, unit=1.0)
    with pytest.raises(MarotteError, match="give --unit 1"):
        import_splatting_avatar(made.model)
    assert import_splatting_avatar(made.model, Given(unit=1.0)).avatar.unit == 1


def test_hashes(trained, store):
    avatar = import_splatting_avatar(trained.model).avatar
    path = avatar.path / avatar.splats / "point_cloud.ply"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MarotteError, match=r"point_cloud\.ply is not the file that avatar\.toml describes"):
        load_avatar("anna")
    with pytest.raises(MarotteError, match="its sha256 differs"):
        check_avatar(avatar)
