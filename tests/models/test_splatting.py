"""SplattingAvatar: what it means, and its files, good and bad."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.ply import read_ply_vertices, write_ply_vertices
from marotte.models.rotations import matrix_to_quat_wxyz, rotvec_to_matrix, rotvec_to_quat_wxyz
from marotte.models.splatting_avatar import SplattingAvatar, hamilton_product, matrix_to_face_quat_wxyz, rotate_back
from marotte.models.splatting_config import SplattingConfig, read_config
from marotte.models.splatting_files import read_obj, read_point_cloud, read_splatting_avatar, write_splatting_avatar
from marotte.models.splatting_numba import SplattingEvaluator

RADIUS = 0.4
CENTRE = np.array([0.3, 0.2, 2.0], np.float32)


@pytest.mark.parametrize("degree", [0, 3])
def test_torch_agrees(degree, make, posed):
    torch = pytest.importorskip("torch")
    avatar = make(degree)
    mesh, other = posed(avatar), avatar.like(torch.zeros(1))
    numpy, tensors = avatar.drive(mesh), other.drive(torch.tensor(mesh))
    for name, expected, got in zip(numpy._fields, numpy, tensors, strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=2e-6, err_msg=name)
    colours = other.colours(tensors, torch.tensor(CENTRE)).numpy()
    np.testing.assert_allclose(colours, avatar.colours(numpy, CENTRE), rtol=0, atol=3e-6)
    np.testing.assert_allclose(other.opacities.numpy(), avatar.opacities, rtol=0, atol=1e-6)


def test_at_rest_nothing_turns_or_stretches(make):
    avatar = make()
    rest = avatar.drive(avatar.canonical)
    np.testing.assert_allclose(rest.area_ratios, 1, atol=1e-6)
    np.testing.assert_allclose(np.abs(rest.base_quats_wxyz[:, 1:]), 0, atol=1e-6)
    np.testing.assert_allclose(rest.scales, np.exp(avatar.log_scales), rtol=1e-5)
    assert (np.sum(rest.vertex_normals * avatar.canonical, axis=1) > 0.9 * RADIUS).all()  # outwards


def test_a_stiff_turn_takes_everything_along(make):
    avatar = make()
    rotvec = np.array([0.3, -0.9, 0.5])
    turn = rotvec_to_matrix(rotvec)
    rest, turned = avatar.drive(avatar.canonical), avatar.drive((avatar.canonical @ turn.T).astype(np.float32))
    np.testing.assert_allclose(turned.means, rest.means @ turn.T, atol=1e-6)
    np.testing.assert_allclose(turned.scales, rest.scales, rtol=1e-4)
    expected = hamilton_product(rotvec_to_quat_wxyz(rotvec)[None], rest.quats_wxyz)
    np.testing.assert_allclose(np.abs(np.sum(expected * turned.quats_wxyz, axis=1)), 1, atol=1e-6)
    assert (turned.quats_wxyz[:, 0] >= 0).all()


def test_a_face_that_grows_makes_its_gaussians_smaller(make):
    avatar = make()
    grown = avatar.drive(avatar.canonical * np.float32(1.2))
    negative = avatar.log_scales < 0
    assert (grown.scales < np.exp(avatar.log_scales))[negative].all()


def test_only_the_last_column_of_uvd_counts(make, posed):
    avatar = make()
    other = replace(avatar, uvd=avatar.uvd * np.array([0, -3, 1], np.float32))
    mesh = posed(avatar)
    np.testing.assert_array_equal(other.drive(mesh).means, avatar.drive(mesh).means)
    for form in (avatar.drive(mesh), SplattingEvaluator(avatar).drive(mesh)):
        off = replace(avatar, uvd=avatar.uvd * 0).drive(mesh)
        np.testing.assert_allclose(np.linalg.norm(form.means - off.means, axis=1), np.abs(avatar.uvd[:, 2]), atol=1e-6)


def test_face_quaternions_are_rotations():
    rng = np.random.default_rng(3)
    matrices = rotvec_to_matrix(rng.normal(0, 2, (200, 3)))
    np.testing.assert_allclose(matrix_to_face_quat_wxyz(matrices), matrix_to_quat_wxyz(matrices), atol=1e-7)
    older = matrix_to_face_quat_wxyz(matrices, positive_w=False)
    largest = np.take_along_axis(older, np.abs(older).argmax(axis=1)[:, None], axis=1)
    assert (largest > 0).all() and (older[:, 0] < 0).any()
    vectors = rng.normal(size=(200, 3))
    back = rotate_back(matrix_to_quat_wxyz(matrices), np.einsum("nij,nj->ni", matrices, vectors))
    np.testing.assert_allclose(back, vectors, atol=1e-6)


def test_collapsed_and_wild_meshes_give_numbers(make, posed):
    avatar = make()
    flat = np.zeros_like(avatar.canonical)
    for form in (avatar.drive(flat), SplattingEvaluator(avatar).drive(flat)):
        assert all(np.isfinite(getattr(form, name)).all() for name in ("means", "quats_wxyz", "scales"))
    folded = replace(avatar, canonical=flat)  # a canonical mesh without area
    for form in (folded.drive(posed(avatar)), SplattingEvaluator(folded).drive(posed(avatar))):
        assert np.isfinite(form.means).all() and np.isfinite(form.quats_wxyz).all()
    wild = posed(avatar)
    wild[3], wild[5] = np.nan, np.inf
    with np.errstate(all="ignore"):
        slow, fast = avatar.drive(wild), SplattingEvaluator(avatar).drive(wild)
    np.testing.assert_array_equal(np.isfinite(fast.means), np.isfinite(slow.means))


def test_meshes_of_another_size_are_named(make):
    avatar = make()
    for drive in (avatar.drive, SplattingEvaluator(avatar).drive):
        with pytest.raises(MarotteError, match=r"\[5, 3\].*canonical mesh has 178 vertices"):
            drive(np.zeros((5, 3), np.float32))


@pytest.mark.parametrize(
    ("field", "change", "match"),
    [
        ("face_ids", lambda a: a + 10000, r"face_ids names 1\d{4} to 1\d{4}, but there are 352 faces"),
        ("faces", lambda a: a - 1, "faces names -1 to 176, but there are 178 vertices"),
        ("bary", lambda a: a[:-1], r"bary has shape \[499, 3\], expected \[500, 3\]"),
        ("uvd", lambda a: np.where(a == a[3, 2], np.nan, a).astype(np.float32), "uvd has 1 numbers that are NaN"),
        ("canonical", lambda a: a + np.float32(np.inf), "canonical has .* NaN or infinite"),
        ("sh", lambda a: np.zeros((len(a), 5, 3), np.float32), "5 colour coefficients"),
    ],
)
def test_values_that_disagree_are_named(field, change, match, make):
    avatar = make()
    with pytest.raises(MarotteError, match=match):
        replace(avatar, **{field: change(getattr(avatar, field))})


def test_a_vertex_of_very_many_faces(make):
    fan = np.stack([np.zeros(2000, np.int32), np.arange(1, 2001), np.arange(2, 2002)], axis=1).astype(np.int32)
    around = np.linspace(0, 6, 2001)
    rim = np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    vertices = np.concatenate([np.zeros((1, 3)), rim]).astype(np.float32)
    avatar = replace(make(count=3), canonical=vertices, faces=fan)
    assert np.isfinite(SplattingEvaluator(avatar).drive(vertices).means).all()
    with pytest.raises(MarotteError, match=r"vertex 0 .* belongs to 2000 faces"):
        avatar.drive(vertices)


# Files.


def same(one, other):
    for name in SplattingAvatar.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_is_written_is_read(tmp_path, degree, make):
    avatar = make(degree, colours_outside=degree > 0, with_mesh_scaling=degree != 2, xyz_as_uvd=degree != 1)
    folder = write_splatting_avatar(avatar, tmp_path)
    same(read_splatting_avatar(folder), avatar)
    same(read_splatting_avatar(folder / "point_cloud.ply", tmp_path / "config.yaml"), avatar)
    assert sorted(path.name for path in folder.iterdir()) == ["embedding.json", "embedding.obj", "point_cloud.ply"]
    cloud, rest = read_point_cloud(folder / "point_cloud.ply"), avatar.drive(avatar.canonical)
    np.testing.assert_array_equal(cloud.rotations_wxyz, rest.quats_wxyz)  # the mesh's turn is in it
    np.testing.assert_array_equal(cloud.xyz, rest.means)


@pytest.fixture
def written(tmp_path, make):
    return write_splatting_avatar(make(), tmp_path)


def rewrite(path: Path, change) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def test_the_embedding_wins_and_may_leave_rotations_out(written):
    rewrite(written / "embedding.json", lambda table: table.pop("_rotation"))
    cloud = read_point_cloud(written / "point_cloud.ply")
    np.testing.assert_array_equal(read_splatting_avatar(written).rotations_wxyz, cloud.rotations_wxyz)


def test_the_older_embedding(written, make):
    def older(table):
        table["mesh_fn"], table["_sample_bary"] = table.pop("cano_mesh"), table.pop("sample_bary")

    rewrite(written / "embedding.json", older)
    (written / "embedding.json").rename(written / "canonical.sample.json")
    same(read_splatting_avatar(written), make())


def test_ply_in_other_forms(written, make):
    path = written / "point_cloud.ply"
    columns = read_ply_vertices(path)
    write_ply_vertices(path, dict(reversed(columns.items())) | {"extra": columns["x"]})
    same(read_splatting_avatar(written), make())

    names, rows = list(columns), np.stack(list(columns.values()), axis=1)
    body = "\n".join(" ".join(repr(float(value)) for value in row) for row in rows)
    properties = "".join(f"property double {name}\n" for name in names)
    count = f"element vertex {len(rows)}\n"
    before = "element note 1\nproperty int n\n"
    path.write_text(f"ply\nformat ascii 1.0\ncomment \xc5\n{before}{count}{properties}end_header\n7\n{body}\n")
    same(read_splatting_avatar(written), make())

    header = f"ply\r\nformat binary_big_endian 1.0\r\n{before}{count}{properties}end_header\n".encode()
    path.write_bytes(header + b"\0\0\0\7" + rows.astype(">f8").tobytes() + b"what follows is another's")
    same(read_splatting_avatar(written), make())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("format ascii 1.0\nelement vertex 2\nproperty float x\nend_header\n1\n", "says 2 entries .* holds 1"),
        ("format ascii 1.0\nelement vertex 1\nproperty float x\nend_header\none\n", "something that is no number"),
        ("format ascii 1.0\nelement a 3\nproperty int n\nelement vertex 0\nend_header\n1\n", "3 entries of 'a'"),
        ("format binary_little_endian 1.0\nelement a 3\nproperty int n\nelement vertex 1\nend_header\n1234", "of 'a'"),
        ("format ascii 1.0\nelement vertex 3\nend_header\n1\n", "says 3 entries"),
        ("format ascii 1.0\nelement face 0\nproperty list uchar int i\nend_header\n", "before its first list"),
        ("format ascii 1.0\nend_header\n", "no vertices"),
        ("element vertex 1\nproperty float x\nend_header\n1\n", "does not say its PLY format"),
        ("format ascii 1.0\nproperty float x\nend_header\n", "cannot be right: 'property float x'"),
    ],
)
def test_ply_headers_that_lie(tmp_path, content, match):
    (tmp_path / "a.ply").write_text("ply\n" + content)
    with pytest.raises(MarotteError, match=match):
        read_ply_vertices(tmp_path / "a.ply")


def without(name):
    def change(folder):
        columns = read_ply_vertices(folder / "point_cloud.ply")
        write_ply_vertices(folder / "point_cloud.ply", {k: v for k, v in columns.items() if k != name})

    return change


def column(name, value, row=7):
    def change(folder):
        columns = read_ply_vertices(folder / "point_cloud.ply")
        columns[name] = columns.get(name, columns["x"]).copy()
        columns[name][row] = value
        write_ply_vertices(folder / "point_cloud.ply", columns)

    return change


def header(old, new):
    def change(folder):
        path = folder / "point_cloud.ply"
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return change


def entry(name, value):
    def change(folder):
        def put(table):
            if value is None:
                del table[name]
            else:
                table[name] = value(table[name]) if callable(value) else value

        rewrite(folder / "embedding.json", put)

    return change


def text(name, value):
    return lambda folder: (folder / name).write_text(value)


def config(value):
    return lambda folder: (folder.parents[1] / "config.yaml").write_text(value)


BAD = {
    "ply lacks opacity": (without("opacity"), r"point_cloud.ply lacks opacity"),
    "ply lacks rot_3": (without("rot_3"), "lacks rot_3"),
    "ply lacks x": (without("x"), "lacks x"),
    "ply with a fourth scale": (column("scale_3", 0), r"has 4 'scale_\*', expected 3"),
    "ply of another degree": (column("f_rest_0", 0), r"has 1 'f_rest_\*'"),
    "ply with nan": (column("scale_1", np.nan), r"'scale_1' nan at 7 \(1 such\)"),
    "ply with inf": (column("opacity", np.inf), "'opacity' inf at 7"),
    "ply that lies": (header(b"vertex 500", b"vertex 501"), "truncated: it says 501 .* holds 500"),
    "ply that lies much": (header(b"vertex 500", b"vertex 999999999999999"), "it says 999999999999999"),
    "ply that lies more": (header(b"vertex 500", b"vertex " + b"9" * 30), "header line that cannot be right"),
    "ply with less than none": (header(b"vertex 500", b"vertex -5"), "header line that cannot be right"),
    "ply with none": (header(b"vertex 500", b"vertex 0"), "has no Gaussians"),
    "ply with fewer": (header(b"vertex 500", b"vertex 499"), "the 499 Gaussians of point_cloud.ply"),
    "ply of lists": (header(b"float x", b"list uchar int x"), "no vertices of plain numbers"),
    "ply of strings": (header(b"float x", b"string x"), "header line that cannot be right"),
    "ply with a name twice": (header(b"float y", b"float x"), "header line that cannot be right"),
    "ply of another format": (header(b"binary_little", b"binary_middle"), "header line that cannot be right"),
    "ply without an end": (header(b"end_header", b"end_heade"), "no end"),
    "not a ply": (text("point_cloud.ply", "hello"), "not a PLY file"),
    "no ply": (lambda folder: (folder / "point_cloud.ply").unlink(), "point_cloud.ply is not there"),
    "no json": (lambda folder: (folder / "embedding.json").unlink(), "embedding.json is not there"),
    "json of another kind": (text("embedding.json", "[1, 2]"), "holds a list"),
    "json too deep": (text("embedding.json", "[" * 200000), "not valid JSON"),
    "json without bary": (entry("sample_bary", None), "lacks 'sample_bary'"),
    "json with fewer": (entry("sample_bary", lambda rows: rows[:-1]), r"'sample_bary' of shape \[499, 3\], expected"),
    "json with ragged rows": (entry("_xyz", lambda rows: [*rows[:-1], [1.0]]), "rows of unequal length"),
    "json with words": (entry("_xyz", lambda rows: [*rows[:-1], ["a", "b", "c"]]), "no number"),
    "json with nan": (entry("_xyz", lambda rows: [*rows[:-1], [0, 0, float("nan")]]), "'_xyz' nan at 499, 2"),
    "json beyond float32": (entry("_xyz", lambda rows: [*rows[:-1], [0, 0, 1e300]]), "'_xyz' 1e.300 at 499, 2"),
    "json with a face too many": (entry("sample_fidxs", lambda rows: [*rows[:-1], 352]), "to 352, but .* 352 faces"),
    "json with a huge face": (entry("sample_fidxs", lambda rows: [*rows[:-1], 2**32]), "to 4294967296"),
    "json with a face below": (entry("sample_fidxs", lambda rows: [*rows[:-1], -1]), "from -1"),
    "json with half a face": (entry("sample_fidxs", lambda rows: [*rows[:-1], 0.5]), "not whole numbers"),
    "json beyond integers": (entry("sample_fidxs", lambda rows: [*rows[:-1], 10**40]), "no number"),
    "json names no mesh": (entry("cano_mesh", 7), "names its mesh 7"),
    "json names a folder": (entry("cano_mesh", "."), "is not a file"),
    "json names a device": (entry("cano_mesh", "/dev/zero"), "/dev/zero is not a file"),
    "json names nothing": (entry("cano_mesh", "gone.obj"), "gone.obj is not there"),
    "json names a null": (entry("cano_mesh", "a\0b"), "a\0b"),
    "mesh of quads": (text("embedding.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3 1\n"), "line 4, .* three entries"),
    "mesh with a vertex too many": (text("embedding.obj", "v 0 0 0\nf 1 1 2\n"), "vertices 1 to 2, but there are 1"),
    "mesh from zero": (text("embedding.obj", "v 0 0 0\nf 0 1 1\n"), "it is truncated or damaged"),
    "mesh of words": (text("embedding.obj", "v 0 0 zero\n"), "line 1 is damaged"),
    "mesh without faces": (text("embedding.obj", "v 0 0 0\n"), "no triangles"),
    "mesh with nan": (text("embedding.obj", "v 0 0 nan\nf 1 1 1\n"), "'vertices' nan at 0, 2"),
    "config of another degree": (config("model:\n  sh_degree: 3\n"), "degree 0, but model.sh_degree is 3"),
    "config with a word": (config("model:\n  sh_degree: three\n"), "model.sh_degree is 'three': write a whole number"),
    "config with a maybe": (config("model:\n  xyz_as_uvd: maybe\n"), "'maybe': write true or false"),
    "config in a line": (config("model: {sh_degree: 0}\n"), "writes model as"),
    "config that merges": (config("model:\n  <<: *base\n"), "writes model.<< as"),
    "no config": (lambda folder: (folder.parents[1] / "config.yaml").unlink(), "has no config.yaml two folders up"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_clear_line(written, case):
    change, match = BAD[case]
    change(written)
    with pytest.raises(MarotteError, match=match) as caught:
        read_splatting_avatar(written)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["point_cloud.ply", "embedding.json", "embedding.obj"])
def test_a_truncated_file_is_noticed(written, name):
    path = written / name
    whole = path.read_bytes()
    for cut in {*range(0, len(whole), len(whole) // 97), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:cut])
        with pytest.raises(MarotteError):
            read_splatting_avatar(written)


def test_obj_in_other_forms(tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text("# Blender\r\no \xc5ngstr\xf6m\nv 0 0 0 1 1 1\nv 1 0 0\nv 0 1e0 0\nvt 0 0\nf -3/1 2/1/1 3\ns off")
    vertices, faces = read_obj(path)
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(faces, [[0, 1, 2]])


def test_config_defaults_comments_and_overrides(tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(
        "# saved\nmodel:\n    with_mesh_scaling: True  # not the code's default\n    list:\n    - sh_degree: 9\n"
        "other:\n  model:\n    sh_degree: 7\ndataset:\n  dat_dir: ???\n  note: 'it is # not: a comment'\n"
        "  num_for_train: -3\npipe:\n  convert_SHs_python: 'yes'\n"
    )
    two.write_text('model:\n  sh_degree: "2"\n')
    assert read_config(one) == SplattingConfig(0, True, True, True, -3, 1)
    assert read_config([one, two]) == SplattingConfig(2, True, True, True, -3, 1)
    two.write_text("dataset:\n  resolution: 2\n")
    assert read_config(two) == SplattingConfig(0, True, False, False, -350, 2)
    for text in ("", "- 1\n- 2\n", '{"frames": []}'):
        two.write_text(text)
        with pytest.raises(MarotteError, match=r"two.yaml has no setting of SplattingAvatar"):
            read_config(two)
    two.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MarotteError, match="not a text file"):
        read_config(two)


def test_where_nothing_can_be_written(tmp_path, make):
    (tmp_path / "point_cloud").write_text("in the way")
    with pytest.raises(MarotteError, match="cannot write"):
        write_splatting_avatar(make(), tmp_path)
