"""What a training of GaussianTalker leaves: checkpoints, point clouds, folders, and what of them is refused."""

import re
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.gaussian_talker import TalkerConfig, find_model
from marotte.models.gaussian_talker.config import SWITCHES
from marotte.models.ply import read_ply_vertices, write_ply_vertices

torch = pytest.importorskip("torch", reason="GaussianTalker needs torch")
from marotte.models.gaussian_talker import Canonical, GaussianTalker, read_canonical, write_canonical  # noqa: E402

SMALL = TalkerConfig(
    features=4, planes=(4, 5, 6), multires=(1, 2), d_model=8, n_head=2, n_layer=2, ffn_hidden=12, net_width=10
)
NAMES = tuple(field.name for field in fields(Canonical))
CFG_ARGS = {
    "sh_degree": 3,
    "d_model": 8,
    "n_head": 4,
    "n_layer": 2,
    "ffn_hidden": 12,
    "net_width": 10,
    "defor_depth": 2,
    "multires": [1, 2],
    "posebase_pe": 10,
    "no_dx": False,
    "no_dshs": True,
    "kplanes_config": {
        "grid_dimensions": 2,
        "input_coordinate_dim": 3,
        "output_coordinate_dim": 4,
        "resolution": [4, 5, 6],
    },
    "configs": "arguments/lost.py",
}
NET = "deformation_net."


@pytest.fixture(scope="module")
def canonical():
    """Gaussians of random numbers."""
    rng = np.random.default_rng(1)
    shapes = ((23, 3), (23, 3), (23, 4), (23,), (23, 16, 3))
    return Canonical(*(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes))


@pytest.fixture
def entries():
    torch.manual_seed(3)
    return dict(GaussianTalker(SMALL).state_dict())


@pytest.fixture
def trained(entries, canonical, tmp_path):
    """A published folder as a training leaves it, with decoys."""
    model = tmp_path / "model"
    for name in ("iteration_500", "iteration_9000", "iteration_10000", "coarse_iteration_20000", "iteration_30000"):
        (model / "point_cloud" / name).mkdir(parents=True)
    for name in ("iteration_9000", "iteration_10000", "coarse_iteration_20000"):
        write_canonical(model / "point_cloud" / name / "point_cloud.ply", canonical)
        torch.save(entries, model / "point_cloud" / name / "deformation.pth")
    (model / "point_cloud" / "iteration_10000" / "deformation_table.pth").write_bytes(b"damaged")
    (model / "point_cloud" / "iteration_10000" / "77.png").write_bytes(b"")
    (model / "point_cloud" / "iteration_99999").write_bytes(b"a file")
    (model / "cfg_args").write_text("Namespace({})".format(", ".join(f"{k}={v!r}" for k, v in CFG_ARGS.items())))
    return model


def test_a_training_comes_back(trained, entries, canonical, tmp_path):
    loaded = GaussianTalker.load(trained)
    wanted = replace(SMALL, n_head=4, moves=frozenset(SWITCHES) - {"sh"})
    assert loaded.config == wanted and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert all((x == entries[name]).all() for name, x in loaded.state_dict().items())
    again = read_canonical(find_model(trained).ply)
    assert all((getattr(again, name) == getattr(canonical, name)).all() for name in NAMES)

    from safetensors.torch import save_file

    short = {name: x.half().contiguous() for name, x in entries.items()}
    save_file(short, tmp_path / "demo.safetensors")
    loaded = GaussianTalker.load(tmp_path / "demo.safetensors").state_dict()
    assert all((x == short[name].float()).all() and x.dtype == torch.float32 for name, x in loaded.items())
    model = find_model(trained)
    assert GaussianTalker.load(model.deformation).config == SMALL
    assert GaussianTalker.load(model.deformation, cfg_args=model.cfg_args).config == wanted
    assert GaussianTalker.load(model.deformation, config=replace(SMALL, n_head=1)).config.n_head == 1


def test_the_default_sizes_are_the_published_ones():
    with torch.device("meta"):
        shapes = {name: tuple(x.shape) for name, x in GaussianTalker().state_dict().items()}
    assert TalkerConfig.from_entries(shapes) == TalkerConfig()
    assert len(shapes) == 103


def test_tensors_of_another_device_are_read(trained, entries):
    """The published file has some that were saved on a GPU."""
    file, changed = find_model(trained).deformation, trained / "changed.pth"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(changed, "w") as out:
        for info in archive.infolist():
            data = archive.read(info)
            if info.filename.endswith("data.pkl"):
                assert data.count(b"X\x03\x00\x00\x00cpu") == 1
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            out.writestr(info, data)
    loaded = GaussianTalker.load(changed)
    assert all((x == entries[name]).all() and x.device.type == "cpu" for name, x in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"d_model": 512}, "cfg_args has d_model 512, but the weights have 8"),
        ({"n_layer": 1}, "cfg_args has n_layer 1, but the weights have 2"),
        ({"ffn_hidden": "64"}, "cfg_args has ffn_hidden '64', but the weights have 12"),
        ({"net_width": 64}, "net_width 64, but the weights have 10"),
        ({"defor_depth": 1}, "defor_depth 1, but the weights have 2"),
        ({"sh_degree": 2}, "sh_degree 2, but the weights have 3"),
        ({"posebase_pe": 4}, "posebase_pe 4, but the weights have 10"),
        ({"multires": [1, 2, 4]}, r"plane resolutions .*, but the weights have \[\[4, 5, 6\], \[8, 10, 12\]\]"),
        ({"multires": 2}, "multires 2"),
        ({"kplanes_config": {"resolution": [6, 5, 4]}}, r"has plane resolutions \[\[6, 5, 4\], \[12, 10, 8\]\], but"),
        ({"kplanes_config": {"resolution": [4, 5, 6, 25]}}, "plane resolutions"),
        ({"kplanes_config": {"input_coordinate_dim": 4}}, "input_coordinate_dim 4, but the weights have 3"),
        ({"kplanes_config": {"output_coordinate_dim": 32}}, "output_coordinate_dim 32, but the weights have 4"),
        ({"kplanes_config": 3}, "kplanes_config 3, expected a dictionary"),
        ({"n_head": 3}, "n_head 3 does not divide the weights' d_model 8"),
        ({"n_head": 0}, "n_head 0, expected a whole number above 0"),
        ({"no_do": 1}, "no_do 1, expected True or False"),
        ({"static_mlp": True}, "variant static_mlp cannot run"),
        ({"empty_voxel": True}, "variant empty_voxel cannot run"),
        ({"apply_rotation": True}, "variant apply_rotation cannot run"),
    ],
    ids=str,
)
def test_notes_of_another_training_are_refused(trained, change, match):
    model = find_model(trained)
    with pytest.raises(MarotteError, match=match) as error:
        GaussianTalker.load(model.deformation, cfg_args=model.cfg_args | change)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(model.deformation))


def test_levels_may_be_counted_from_another_base():
    shapes = {name: x.shape for name, x in GaussianTalker(replace(SMALL, planes=(4, 6, 8))).state_dict().items()}
    noted = {"multires": [2, 4], "kplanes_config": {"resolution": [2, 3, 4]}}
    assert TalkerConfig.from_entries(shapes, noted).planes == (4, 6, 8)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({NET + "static_mlp.1.weight": torch.zeros(2, 2)}, "variant static_mlp cannot run"),
        ({NET + "empty_voxel.grid": torch.zeros(1, 1, 4, 4, 4)}, "variant empty_voxel cannot run"),
        ({NET + "null_vector": None}, "lacks deformation_net.null_vector: it is no GaussianTalker network"),
        ({NET + "null_vector": torch.zeros(8)}, r"has \[8\] as deformation_net.null_vector"),
        ({NET + "eye_mlp.net.1.weight": None}, "1 missing: deformation_net.eye_mlp.net.1.weight"),
        ({"optimizer": torch.zeros(1)}, "1 not GaussianTalker's: optimizer"),
        ({NET + "cam_mlp.net.0.weight": torch.zeros(64, 9)}, r"\[64, 9\] \(expected \[64, 12\]\)"),
        ({NET + "tri_plane.grid.grids.1.0": torch.zeros(1, 4, 9, 8)}, r"planes of \[8, 9, 12\] cells, no multiple"),
        ({NET + "tri_plane.grid.grids.0.2": torch.zeros(1, 4, 5, 6)}, r"grids.0.2 \[1, 4, 5, 6\] \(expected"),
        ({NET + "shs_deform.3.weight": torch.zeros(12, 10)}, "4 SH coefficients, expected 16"),
        ({NET + "tri_plane.grid.grids.0.0": torch.zeros(1, 6, 5, 4)}, "2 levels of 6 plane features, but d_model 8"),
    ],
)
def test_other_checkpoints_are_refused(entries, tmp_path, change, match):
    torch.save({k: v for k, v in (entries | change).items() if v is not None}, tmp_path / "deformation.pth")
    with pytest.raises(MarotteError, match=match) as error:
        GaussianTalker.load(tmp_path / "deformation.pth")
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_a_file_is_run(entries, tmp_path, capsys):
    file = tmp_path / "deformation.pth"
    torch.save(entries | {"more": Evil()}, file)
    with pytest.raises(MarotteError, match="asks for more than tensors"):
        GaussianTalker.load(file)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(MarotteError, match="truncated"):
        GaussianTalker.load(file)
    torch.save([torch.zeros(3)], file)
    with pytest.raises(MarotteError, match="not a flat dictionary of tensors"):
        GaussianTalker.load(file)
    with pytest.raises(MarotteError, match="cannot read"):
        GaussianTalker.load(tmp_path / "absent.pth")
    assert "run" not in capsys.readouterr().out


def test_point_cloud_has_the_published_layout(canonical, tmp_path):
    write_canonical(tmp_path / "point_cloud.ply", canonical)
    head = (tmp_path / "point_cloud.ply").read_bytes().split(b"end_header\n")[0].decode()
    names = re.findall(r"property float (\w+)", head)
    families = [f"f_dc_{i}" for i in range(3)] + [f"f_rest_{i}" for i in range(45)] + ["opacity"]
    families += [f"scale_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]
    assert "format binary_little_endian 1.0\nelement vertex 23\n" in head
    assert names == [*"xyz", "nx", "ny", "nz", *families] and len(names) == 62
    columns, sh = read_ply_vertices(tmp_path / "point_cloud.ply"), canonical.sh.numpy()
    assert all((columns[f"f_rest_{15 * c + k - 1}"] == sh[:, k, c]).all() for k in range(1, 16) for c in range(3))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({f"f_rest_{i}": None for i in range(9, 45)}, r"has 9 'f_rest_\*', expected 45 \(SH degree 3\)"),
        ({"f_rest_45": 1}, r"has 46 'f_rest_\*'"),
        ({"f_rest_44": None, "f_rest_45": 1}, "lacks f_rest_44"),
        ({"rot_3": None, "opacity": None}, "lacks opacity, rot_3"),
        ({"scale_1": np.nan}, r"has 'scale_1' nan at 0 \(23 such\)"),
    ],
)
def test_other_point_clouds_are_refused(canonical, tmp_path, change, match):
    file = tmp_path / "point_cloud.ply"
    write_canonical(file, canonical)
    columns = read_ply_vertices(file)
    changed = {k: None if v is None else np.full(23, v, np.float32) for k, v in change.items()}
    write_ply_vertices(file, {k: v for k, v in (columns | changed).items() if v is not None})
    with pytest.raises(MarotteError, match=match) as error:
        read_canonical(file)
    assert "\n" not in str(error.value)
    write_ply_vertices(file, {k: v[:0] for k, v in columns.items()})
    with pytest.raises(MarotteError, match="has no Gaussians"):
        read_canonical(file)


def test_every_name_of_a_training_finds_it(trained, monkeypatch):
    last = trained / "point_cloud" / "iteration_10000"
    for path in (trained, trained / "point_cloud", last, last / "point_cloud.ply", trained / "cfg_args"):
        model = find_model(path)
        assert (model.folder, model.iteration, model.cfg_args) == (trained, last, CFG_ARGS)
    assert model.ply == last / "point_cloud.ply" and model.deformation == last / "deformation.pth"
    assert find_model(trained / "point_cloud" / "iteration_9000").iteration.name == "iteration_9000"
    monkeypatch.chdir(last)
    assert find_model(".").iteration == last
    (trained / "cfg_args").unlink()
    assert find_model(trained).cfg_args == {}


def test_what_is_no_training_is_named(trained, tmp_path):
    clouds = trained / "point_cloud"
    with pytest.raises(MarotteError, match="is not there"):
        find_model(tmp_path / "absent")
    with pytest.raises(MarotteError, match=r"has no point_cloud.ply and no deformation.pth"):
        find_model(clouds / "iteration_500")
    with pytest.raises(MarotteError, match="of the coarse stage"):
        find_model(clouds / "coarse_iteration_20000")
    for name in ("iteration_9000", "iteration_10000"):
        (clouds / name / "deformation.pth").unlink()
    with pytest.raises(MarotteError, match="coarse stage of a training only"):
        find_model(trained)
    # The folder that `model` lies in is as good as that itself.
    with pytest.raises(MarotteError, match="coarse stage of a training only"):
        find_model(trained.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MarotteError, match="it is no trained GaussianTalker"):
        find_model(tmp_path / "empty")
