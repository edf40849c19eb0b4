"""From the published folder, imported, to the Gaussians that reach the rasterizer, at the reference's tolerances."""

import numpy as np
import pytest

from marotte.models.splatting_config import read_config
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.splatting import import_splatting_avatar
from marotte.runtime.contracts import RenderOptions
from marotte.runtime.imavatar import read_imavatar

# Of reference/splatting_avatar/SPEC.md, section 8.
CENTRES, SCALES, VERTICES = 2e-6, 1e-5, 1e-6


@pytest.mark.reference_files("splatting_avatar/**/avatar_expected*.npz")
def test_an_imported_avatar_gives_the_published_gaussians(reference_file, tmp_path):
    folder = reference_file.with_name(reference_file.stem.replace("_expected", ""))
    expected = np.load(reference_file)
    avatar = import_splatting_avatar(folder, Given(name="x"), store=tmp_path).avatar
    (config,) = folder.rglob("config.yaml")
    _, test = read_imavatar(folder / "data").split(read_config(config).num_for_train)
    state = test.head
    stream = SplattingAvatarRenderer().open(avatar, RenderOptions(64, 64, extra={"device": "cpu"}))
    meshes = stream.head.vertices(state.expression, state.full_pose)
    for frame, (mesh, camera) in enumerate(zip(meshes, test.cameras, strict=True)):
        np.testing.assert_allclose(mesh, expected[f"frame{frame}.mesh_verts"], rtol=0, atol=VERTICES)
        given = stream.gaussians(mesh, camera)
        for name, got, tolerance in (
            ("means3D", given.means, CENTRES),
            ("scales", given.scales, SCALES),
            ("rotations", given.quats_wxyz, CENTRES),
            ("opacities", given.opacities[:, None], CENTRES),
            ("shs", given.sh, 0),
        ):
            want = expected[f"frame{frame}.raster.{name}"]
            np.testing.assert_allclose(np.reshape(got, want.shape), want, rtol=0, atol=tolerance, err_msg=name)
