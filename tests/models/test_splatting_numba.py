"""SplattingAvatar's fast form against the readable one."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.models import splatting_numba
from marotte.models.splatting_numba import SplattingEvaluator

CENTRE = np.array([0.3, 0.2, 2.0], np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.8, 2.4])
@pytest.mark.parametrize(
    "settings",
    [{}, {"xyz_as_uvd": False}, {"with_mesh_scaling": False}, {"positive_w": False}, {"degree": 1}, {"degree": 2},
     {"degree": 3}, {"count": 1}],
    ids=str,
)  # fmt: skip
def test_the_fast_form_agrees(settings, angle, make, posed):
    # Both add and round in float32, in another order: a few units in the last place.
    avatar = make(**settings, colours_outside=True)
    mesh = posed(avatar, angle=angle)
    slow, fast = avatar.drive(mesh), SplattingEvaluator(avatar).drive(mesh, CENTRE)
    for name in ("means", "quats_wxyz", "scales"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=0, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(fast.colours, avatar.colours(slow, CENTRE), rtol=0, atol=3e-6)


@pytest.mark.parametrize("count", [7, 8, 255, 256, 257, 513])
@pytest.mark.parametrize("rows", [15, 16, 17])
def test_the_fast_form_agrees_around_blocks(count, rows, ball, make, posed):
    # Vertices and faces of a finer ball: 242, 258 and 274, 480, 512 and 544.
    vertices, faces = ball(rows)
    rng = np.random.default_rng(count)
    avatar = replace(
        make(count=count, colours_outside=True),
        canonical=vertices,
        faces=faces,
        face_ids=rng.integers(0, len(faces), count).astype(np.int32),
    )
    mesh = posed(avatar)
    slow, fast = avatar.drive(mesh), SplattingEvaluator(avatar).drive(mesh, CENTRE)
    for name in ("means", "quats_wxyz", "scales"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=0, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(fast.colours, avatar.colours(slow, CENTRE), rtol=0, atol=3e-6)


def test_thin_faces_stay_right_in_the_fast_form(make):
    # Slivers, each alone, far from the origin for float32: their normals are what float64 says.
    rng = np.random.default_rng(0)
    start, along = rng.normal(0, 1, (300, 3)), rng.normal(0, 1, (300, 3))
    corners = np.stack([start, start + along, start + along * 0.4 + rng.normal(0, 1e-4, (300, 3))], axis=1)
    vertices = corners.reshape(-1, 3).astype(np.float32)
    faces = np.arange(900, dtype=np.int32).reshape(-1, 3)
    avatar = replace(make(count=300), canonical=vertices, faces=faces, face_ids=np.arange(300, dtype=np.int32))
    exact = replace(avatar, canonical=vertices.astype(np.float64)).drive(vertices.astype(np.float64))
    fast = SplattingEvaluator(avatar).drive(vertices)
    # Offsets along the normal are about 0.02, so this is 1e-4 of a normal; in float32 it would be 100 times as much.
    np.testing.assert_allclose(fast.means, exact.means, rtol=0, atol=2e-6)
    np.testing.assert_allclose(fast.quats_wxyz, exact.quats_wxyz, rtol=0, atol=2e-6)


def test_the_fast_exponential():
    power = np.linspace(-87, 88, 20001).astype(np.float32)
    got = np.array([splatting_numba._exp(value) for value in power], np.float64)
    np.testing.assert_allclose(got, np.exp(power.astype(np.float64)), rtol=2e-7)
    assert splatting_numba._exp(np.float32(-1e9)) == splatting_numba._exp(np.float32(-87)) > 0
    assert np.isfinite(splatting_numba._exp(np.float32(np.inf)))


def test_other_arrays_compile_nothing_and_results_are_their_holders(make, posed):
    kernels = splatting_numba._turn_faces, splatting_numba._join_vertices, splatting_numba._place
    avatar = make()
    evaluator, mesh = SplattingEvaluator(avatar), posed(avatar)
    first = evaluator.drive(mesh)
    kept = [array.copy() for array in first[:3]]
    before = [len(kernel.signatures) for kernel in kernels]
    fixed = mesh.copy()
    fixed.flags.writeable = False
    for given in (fixed, np.asfortranarray(mesh), mesh.astype(np.float64), mesh[::-1][::-1]):
        for array, expected in zip(evaluator.drive(given), kept, strict=False):
            np.testing.assert_array_equal(array, expected)
    SplattingEvaluator(make(3, xyz_as_uvd=False, colours_outside=True)).drive(mesh, CENTRE)
    evaluator.drive(mesh * 2)
    for array, expected in zip(first, kept, strict=False):
        np.testing.assert_array_equal(array, expected)
    assert [len(kernel.signatures) for kernel in kernels] == before
