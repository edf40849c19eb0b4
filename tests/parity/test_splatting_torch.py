"""SplattingAvatar and FLAME on a torch device against the numbers of the published code, in float32.

reference/splatting_avatar/SPEC.md, section 8: on CPU tensors, and on CUDA where there is. The same functions, by way
of a CUDA graph there, feed the rasterizer.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from marotte.models.flame import FlameModel
from marotte.models.splatting_config import read_config
from marotte.models.splatting_files import read_splatting_avatar
from marotte.runtime.imavatar import read_imavatar

torch = pytest.importorskip("torch", reason="torch is not installed")

# Of the SPEC: centres and rotations; scales. Vertices are FLAME's.
CENTRES, SCALES, VERTICES = 2e-6, 1e-5, 1e-6

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


def close(got, expected, tolerance, where=...):
    got = np.asarray(got.cpu() if hasattr(got, "cpu") else got).reshape(np.shape(expected))
    np.testing.assert_allclose(got[where], expected[where], rtol=0, atol=tolerance)


def poses(data):
    return list(dict.fromkeys(key.split(".")[0] for key in data if "." in key))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.reference_files("splatting_avatar/**/mesh_update*.npz")
def test_mesh_update(reference_file, device, avatar_of):
    from marotte.models.splatting_torch import TorchSplats

    data = dict(np.load(reference_file))
    names = poses(data)
    meshes = torch.from_numpy(np.stack([data[f"{pose}.mesh_verts"] for pose in names])).to(device)
    avatar = avatar_of(data, data)
    older = avatar_of(data, data, positive_w=False)
    still = avatar_of(data, data, with_mesh_scaling=False, xyz_as_uvd=False)
    splats = TorchSplats(avatar, device)
    got, turned, stiff = (TorchSplats(a, device).drive(meshes) for a in (avatar, older, still))
    compared = 0
    for index, pose in enumerate(names):
        where = data.get(f"{pose}.gauss_defined", ...)
        checks = {
            "xyz": (got.means[index], CENTRES),
            "rotation": (got.quats_wxyz[index], CENTRES),
            "scaling": (got.scales[index], SCALES),
            "rotation_unstandardized": (turned.quats_wxyz[index], CENTRES),
            "opacity": (splats.opacities, CENTRES),
            "features": (splats.sh, 0),
            "scaling_no_mesh_scaling": (stiff.scales, SCALES),
            "xyz_not_uvd": (stiff.means[index], 0),
        }
        for name, (result, tolerance) in checks.items():
            if f"{pose}.{name}" in data:
                close(result, data[f"{pose}.{name}"], tolerance, where)
                compared += 1
    assert compared >= 3 * len(names)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.reference_files("splatting_avatar/**/sh[0-9]*.npz")
def test_colours_by_direction(reference_file, device, avatar_of):
    from marotte.models.splatting_torch import TorchSplats

    data = dict(np.load(reference_file))
    mesh = dict(np.load(reference_file.with_name("mesh_update" + reference_file.stem[3:] + ".npz")))
    splats = TorchSplats(avatar_of(mesh, data, colours_outside=True), device)
    # Twice the same frame and once another between them: a frame's centre is its own.
    centre = data["camera_center"]
    vertices = torch.from_numpy(np.stack([mesh["bend.mesh_verts"]] * 3)).to(device)
    got = splats.drive(vertices, torch.from_numpy(np.stack([centre, -centre, centre])).to(device))
    for frame in (0, 2):
        close(got.means[frame], data["xyz"], CENTRES)
        close(got.colours[frame], data["colors_convert_SHs_python"], CENTRES)
    assert (got.colours[1] - got.colours[0]).abs().max() > 1e-2
    close(splats.sh, data["shs_to_rasterizer"], 0)


@pytest.fixture
def published(reference_file):
    """Give the avatar that an `avatar_expected*.npz` belongs to: its Gaussians, head, test frames and numbers."""
    folder = reference_file.with_name(reference_file.stem.replace("_expected", ""))
    iteration = max((folder / "point_cloud").glob("iteration_*"), key=lambda path: int(path.name.partition("_")[2]))
    track = read_imavatar(folder / "data")
    _, test = track.split(read_config(folder / "config.yaml").num_for_train)
    expressions = track.expression.shape[1]
    head = FlameModel.load(folder / "flame" / "generic_model.pkl", n_expression=expressions, basis="flame2020")
    return SimpleNamespace(
        splats=read_splatting_avatar(iteration),
        head=head.baked(np.pad(track.shape, (0, head.shape_dirs.shape[-1] - len(track.shape))), 1.0),
        test=test,
        expected=dict(np.load(reference_file)),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.reference_files("splatting_avatar/**/avatar_expected*.npz")
def test_from_files_to_the_rasterizer(reference_file, published, device):
    from marotte.renderers.splatting_update import SplattingUpdate

    test, expected, state = published.test, published.expected, published.test.head
    update = SplattingUpdate(published.head, 4.0, published.splats, torch.device(device))
    with torch.inference_mode():
        vertices = update.head.vertices(*(torch.from_numpy(a).to(device) for a in (test.expression, test.full_pose)))
        got, finite = update(update.rows(state, test.cameras))
        assert finite.all()
        for frame in range(len(test)):
            close(vertices[frame], expected[f"frame{frame}.mesh_verts"], VERTICES)
            checks = {
                "means3D": (got.means[frame], CENTRES),
                "opacities": (update.splats.opacities, CENTRES),
                "scales": (got.scales[frame] if got.scales.dim() == 3 else got.scales, SCALES),
                "rotations": (got.quats_wxyz[frame], CENTRES),
                "shs": (update.splats.sh, 0),
            }
            for name, (result, tolerance) in checks.items():
                close(result, expected[f"frame{frame}.raster.{name}"], tolerance)
