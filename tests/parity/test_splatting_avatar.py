"""SplattingAvatar against the numbers of the published code: reference/splatting_avatar/SPEC.md, section 8.

Every key of every file is compared; one that is not known here fails.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from marotte.models.flame import FlameModel
from marotte.models.splatting_config import read_config
from marotte.models.splatting_files import read_point_cloud, read_splatting_avatar, write_splatting_avatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.renderers.rasterizers import PublishedSettings
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.imavatar import imavatar_to_opencv, opencv_to_3dgs, opencv_to_imavatar, read_imavatar

# Of the SPEC: centres and rotations; scales, area ratios and face quaternions; cameras. Vertices are FLAME's.
CENTRES, SCALES, CAMERAS, VERTICES = 2e-6, 1e-5, 1e-6, 1e-6

# By key: the field of Driven, and the tolerance.
STAGES = {
    "mesh_norms": ("vertex_normals", CENTRES),
    "per_face_quat": ("face_quats_wxyz", SCALES),
    "per_vert_quat": ("vertex_quats_wxyz", CENTRES),
    "face_scaling": ("area_ratios", SCALES),
    "base_xyz": ("base_points", CENTRES),
    "base_normal": ("base_normals", CENTRES),
    "base_quat": ("base_quats_wxyz", CENTRES),
    "xyz": ("means", CENTRES),
    "rotation": ("quats_wxyz", CENTRES),
    "scaling": ("scales", SCALES),
}
# What a key has rows of, where it is not Gaussians.
KINDS = dict.fromkeys(("per_face_quat", "per_face_Rt", "face_scaling"), "face")
KINDS |= dict.fromkeys(("mesh_verts", "mesh_norms", "per_vert_quat", "per_vert_quat_unstandardized"), "vert")


def close(got, expected, tolerance, where=...):
    got = np.asarray(got).reshape(np.shape(expected))
    np.testing.assert_allclose(got[where], expected[where], rtol=0, atol=tolerance)


def unit(quats):
    return quats / np.linalg.norm(quats, axis=-1, keepdims=True)


def face_transforms(avatar, driven, vertices):
    """Return what the published code calls per-face Rt [F, 4, 4]: the turn, and where it takes the first corner."""
    first, posed = avatar.canonical[avatar.faces[:, 0]], vertices[avatar.faces[:, 0]]
    whole = np.tile(np.eye(4), (len(avatar.faces), 1, 1))
    whole[:, :3, :3] = driven.face_turns
    whole[:, :3, 3] = posed - np.einsum("fij,fj->fi", driven.face_turns, first)
    return whole


def check_pose(avatar, data, prefix):
    """Compare one pose's stages, readable and fast, and return the keys that were compared."""
    masks = {kind: data.get(f"{prefix}{kind}_defined", ...) for kind in ("face", "vert", "gauss")}
    seen = {f"{prefix}{kind}_defined" for kind in masks} & set(data)
    vertices = data[f"{prefix}mesh_verts"]
    driven, fast = avatar.drive(vertices), SplattingEvaluator(avatar).drive(vertices)
    older = replace(avatar, positive_w=False)
    turned = older.drive(vertices), SplattingEvaluator(older).drive(vertices)
    still = replace(avatar, with_mesh_scaling=False, xyz_as_uvd=False)
    stiff = still.drive(vertices), SplattingEvaluator(still).drive(vertices)
    checks = {key: ([getattr(driven, field)], tolerance) for key, (field, tolerance) in STAGES.items()}
    for key in ("xyz", "rotation", "scaling"):
        field, tolerance = STAGES[key]
        checks[key] = [getattr(driven, field), getattr(fast, field)], tolerance
    checks |= {
        "mesh_verts": ([vertices], 0),
        "rotation_embed": ([unit(driven.base_quats_wxyz)], CENTRES),
        "per_face_Rt": ([face_transforms(avatar, driven, vertices)], SCALES),
        "opacity": ([avatar.opacities], CENTRES),
        "features": ([avatar.sh], 0),
        "scaling_no_mesh_scaling": ([s.scales for s in stiff], SCALES),
        "xyz_not_uvd": ([s.means for s in stiff], 0),
        "per_vert_quat_unstandardized": ([turned[0].vertex_quats_wxyz], CENTRES),
        "rotation_unstandardized": ([s.quats_wxyz for s in turned], CENTRES),
    }
    for key, expected in data.items():
        name = key.removeprefix(prefix)
        if key in seen or not key.startswith(prefix) or "." in name or name in ("full_pose", "expression"):
            continue
        results, tolerance = checks[name]
        for result in results:
            close(result, expected, tolerance, masks[KINDS.get(name, "gauss")])
        seen.add(key)
    return seen


@pytest.mark.reference_files("splatting_avatar/**/mesh_update*.npz")
def test_mesh_update(reference_file, avatar_of):
    data = dict(np.load(reference_file))
    avatar = avatar_of(data, data)
    close(avatar.rest.areas, data["cano_face_areas"], CAMERAS)
    close(avatar.drive(avatar.canonical).vertex_normals, data["cano_norms"], CENTRES)
    seen = {"cano_face_areas", "cano_norms", "cano_verts", "faces", "sample_fidxs", "sample_bary"}
    seen |= {key for key in data if key.startswith("_")}
    for pose in dict.fromkeys(key.split(".")[0] for key in data if "." in key):
        seen |= check_pose(avatar, data, f"{pose}.")
    assert set(data) == seen


@pytest.mark.reference_files("splatting_avatar/**/sh[0-9]*.npz")
def test_colours_by_direction(reference_file, avatar_of):
    data = dict(np.load(reference_file))
    mesh = dict(np.load(reference_file.with_name("mesh_update" + reference_file.stem[3:] + ".npz")))
    avatar = avatar_of(mesh, data, colours_outside=True)
    vertices, centre = mesh["bend.mesh_verts"], data["camera_center"]
    driven, fast = avatar.drive(vertices), SplattingEvaluator(avatar).drive(vertices, centre)
    checks = {
        "xyz": ([driven.means, fast.means], CENTRES),
        "rotation_embed": ([unit(driven.base_quats_wxyz)], CENTRES),
        "shs_to_rasterizer": ([avatar.sh], 0),
        "colors_convert_SHs_python": ([avatar.colours(driven, centre), fast.colours], CENTRES),
        "colors_without_embed_rotation": ([avatar.colours(driven, centre, turned=False)], CENTRES),
        "active_sh_degree": ([avatar.sh_degree], 0),
    }
    for key in data:
        if not key.startswith("_") and key != "camera_center":
            for result in checks[key][0]:
                close(result, data[key], checks[key][1])


@pytest.fixture
def published(reference_file, tmp_path):
    """Give the avatar that an `avatar_expected*.npz` belongs to: its folder, files and numbers."""
    folder = reference_file.with_name(reference_file.stem.replace("_expected", ""))
    iteration = max((folder / "point_cloud").glob("iteration_*"), key=lambda path: int(path.name.partition("_")[2]))
    track = read_imavatar(folder / "data")
    _, test = track.split(read_config(folder / "config.yaml").num_for_train)
    np.save(tmp_path / "shape.npy", track.shape)
    avatar = Avatar(
        name="published",
        path=folder,
        renderer="splatting-avatar",
        basis="flame2020",
        head="flame/generic_model.pkl",
        shape=str(tmp_path / "shape.npy"),
        splats=str(iteration.relative_to(folder)),
        expressions=track.expression.shape[1],
        unit=4.0,
    )
    return SimpleNamespace(
        avatar=avatar, iteration=iteration, track=track, test=test, expected=dict(np.load(reference_file))
    )


@pytest.mark.reference_files("splatting_avatar/**/avatar_expected*.npz")
def test_files(reference_file, published, tmp_path):
    expected = published.expected
    cloud, avatar = (
        read_point_cloud(published.iteration / "point_cloud.ply"),
        read_splatting_avatar(published.iteration),
    )
    head = FlameModel.load(published.avatar.head_path, n_shape=100, n_expression=50, basis="flame2020").baked(
        published.track.shape, 4
    )
    first = head.imavatar(published.track.expression[:1], published.track.full_pose[:1])
    checks = {
        "ply_xyz": (cloud.xyz, 0),
        "ply_rotation": (cloud.rotations_wxyz, 0),
        "loaded_xyz": (avatar.uvd, 0),
        "loaded_rotation": (avatar.rotations_wxyz, 0),
        "loaded_scaling": (avatar.log_scales, 0),
        "loaded_opacity": (avatar.opacity_logits, 0),
        "loaded_features_dc": (avatar.sh[:, :1], 0),
        "loaded_features_rest": (avatar.sh[:, 1:], 0),
        "loaded_sample_fidxs": (avatar.face_ids, 0),
        "loaded_sample_bary": (avatar.bary, 0),
        "cano_verts": (avatar.canonical, 0),
        "cano_faces": (avatar.faces, 0),
        "cano_face_areas": (avatar.rest.areas, CAMERAS),
        "cano_norms": (avatar.drive(avatar.canonical).vertex_normals, CENTRES),
        "first_train_verts": (first.vertices[0], VERTICES),
        "v_template_baked": (head.v_template, VERTICES),
    }
    for key in expected:
        if "." not in key:
            close(checks[key][0], expected[key], checks[key][1])
    # The mesh was written from the first training frame, with six decimals; what is written here is as much the same.
    close(avatar.canonical, expected["first_train_verts"], 6e-7)
    again = write_splatting_avatar(avatar, tmp_path)
    written = read_point_cloud(again / "point_cloud.ply")
    close(written.xyz, expected["ply_xyz"], CENTRES)
    close(written.rotations_wxyz, expected["ply_rotation"], CENTRES)
    assert (again / "embedding.json").read_bytes() == (published.iteration / "embedding.json").read_bytes()


@pytest.mark.reference_files("splatting_avatar/**/avatar_expected*.npz")
def test_stages_on_the_published_mesh(reference_file, published):
    avatar = read_splatting_avatar(published.iteration)
    for frame in range(len(published.test)):
        assert len(check_pose(avatar, published.expected, f"frame{frame}.")) >= len(STAGES)


@pytest.mark.reference_files("splatting_avatar/**/avatar_expected*.npz")
def test_cameras(reference_file, published):
    expected = published.expected
    for frame, camera in enumerate(published.test.cameras):
        given = opencv_to_3dgs(camera)
        fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
        checks = {
            "cam.R": camera.R,
            "cam.c": camera.centre,
            "cam.t": camera.t,
            "cam.fxfycxcywh": [fx, fy, cx, cy, camera.width, camera.height],
            "scene.R": camera.R.T,
            "scene.T": camera.t,
            "scene.fov": given.fov,
            "scene.world_view_transform": given.view,
            "scene.projection_matrix": given.projection,
            "scene.full_proj_transform": given.full_projection,
            "scene.camera_center": given.centre,
            "raster.viewmatrix": given.view,
            "raster.projmatrix": given.full_projection,
            "raster.campos": given.centre,
            # Height, width, tangents, scale modifier, degree.
            "raster.scalars": [camera.height, camera.width, *given.tan_half_fov, 1, 0],
            "full_pose": published.test.full_pose[frame],
            "expression": published.test.expression[frame],
        }
        for name in (key.removeprefix(f"frame{frame}.") for key in expected if key.startswith(f"frame{frame}.")):
            if name.startswith(("cam.", "scene.")) or name in checks:
                close(checks[name], expected[f"frame{frame}.{name}"], CAMERAS)
        settings = PublishedSettings.from_camera(camera)
        close(settings.viewmatrix, expected[f"frame{frame}.raster.viewmatrix"], CAMERAS)
        # Of the clip point no rasterizer reads z, where near and far limits enter.
        close(settings.projmatrix, expected[f"frame{frame}.raster.projmatrix"], CAMERAS, np.s_[:, [0, 1, 3]])
        close(settings.campos, expected[f"frame{frame}.raster.campos"], CAMERAS)
        close([settings.tanfovx, settings.tanfovy], expected[f"frame{frame}.raster.scalars"][2:4], CAMERAS)
        world_mat, intrinsics = opencv_to_imavatar(camera)
        again = imavatar_to_opencv(world_mat, intrinsics, camera.width, camera.height)
        close(opencv_to_3dgs(again).full_projection, given.full_projection, CAMERAS)


def drive_of(track):
    return Drive(np.arange(len(track), dtype=np.int64), track.head, track.cameras, Background(colour=(1, 1, 1)))


@pytest.mark.reference_files("splatting_avatar/**/avatar_expected*.npz")
def test_from_files_to_the_rasterizer(reference_file, published):
    expected, renderer = published.expected, SplattingAvatarRenderer()
    camera = published.test.cameras[0]
    stream = renderer.open(published.avatar, RenderOptions(camera.width, camera.height))
    drive = drive_of(published.test)
    for frame, mesh in enumerate(stream.vertices(drive)):
        close(mesh, expected[f"frame{frame}.mesh_verts"], VERTICES)
        given = stream.gaussians(mesh, drive.cameras[frame])
        checks = {
            "means3D": (given.means, CENTRES),
            "opacities": (given.opacities, CENTRES),
            "scales": (given.scales, SCALES),
            "rotations": (given.quats_wxyz, CENTRES),
            "shs": (given.sh, 0),
        }
        for name, (got, tolerance) in checks.items():
            close(got, expected[f"frame{frame}.raster.{name}"], tolerance)
        np.testing.assert_array_equal(expected[f"frame{frame}.raster.bg"], drive.background.colour)
        assert given.sh_degree == expected[f"frame{frame}.raster.scalars"][5]
    frames = renderer.render(stream, drive)
    assert frames.pixels.shape == (len(drive), camera.height, camera.width, 3)
