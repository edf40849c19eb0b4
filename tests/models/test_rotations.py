"""Axioms of the rotation functions, over batch shapes, on numpy and (where installed) on torch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from marotte.models.rotations import (
    matrix_to_quat_wxyz,
    matrix_to_rotvec,
    matrix_to_sixd,
    quat_slerp,
    quat_wxyz_to_rotvec,
    rotvec_to_matrix,
    rotvec_to_quat_wxyz,
    sixd_to_matrix,
)

NEAR = {"rtol": 0, "atol": 1e-6}  # the published 1e-8 per component tilts the axis by as much


@st.composite
def rotvecs(draw, largest=3.1):
    """Rotation vectors [..., 3] of any batch shape, shorter than `largest`."""
    batch = draw(array_shapes(min_dims=0, max_dims=3, max_side=3))
    vector = draw(arrays(np.float64, (*batch, 3), elements=st.floats(-1, 1)))
    angle = draw(st.floats(0, largest))
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector / np.maximum(length, 1) * angle


@given(rotvecs())
def test_matrices_are_rotations(rotvec):
    matrix = rotvec_to_matrix(rotvec)
    assert matrix.shape == (*rotvec.shape, 3)
    np.testing.assert_allclose(
        matrix @ np.swapaxes(matrix, -1, -2), np.broadcast_to(np.eye(3), matrix.shape), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.det(matrix), 1, rtol=0, atol=1e-6)


@given(rotvecs(largest=10))
def test_the_opposite_vector_is_the_inverse(rotvec):
    product = rotvec_to_matrix(rotvec) @ rotvec_to_matrix(-rotvec)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), **NEAR)


@given(rotvecs())
def test_vectors_survive_matrix_and_quaternion(rotvec):
    np.testing.assert_allclose(matrix_to_rotvec(rotvec_to_matrix(rotvec)), rotvec, **NEAR)
    np.testing.assert_allclose(quat_wxyz_to_rotvec(rotvec_to_quat_wxyz(rotvec)), rotvec, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(rotvec_to_quat_wxyz(rotvec), axis=-1), 1, rtol=0, atol=1e-12)


@given(rotvecs())
def test_both_ways_to_a_quaternion_agree(rotvec):
    direct, through = rotvec_to_quat_wxyz(rotvec), matrix_to_quat_wxyz(rotvec_to_matrix(rotvec))
    assert (through[..., 0] >= 0).all()
    np.testing.assert_allclose(np.abs(np.sum(direct * through, axis=-1)), 1, **NEAR)


@given(rotvecs())
def test_sixd_is_the_first_two_rows(rotvec):
    matrix = rotvec_to_matrix(rotvec)
    sixd = matrix_to_sixd(matrix)
    np.testing.assert_array_equal(sixd[..., :3], matrix[..., 0, :])
    np.testing.assert_array_equal(sixd[..., 3:], matrix[..., 1, :])
    np.testing.assert_allclose(sixd_to_matrix(sixd), matrix, **NEAR)
    np.testing.assert_allclose(sixd_to_matrix(sixd * 3), matrix, **NEAR)


@given(rotvecs(), st.floats(0, 1))
def test_slerp_keeps_to_the_shorter_way(rotvec, weight):
    start, end = np.zeros_like(rotvec), rotvec
    between = quat_slerp(rotvec_to_quat_wxyz(start), -rotvec_to_quat_wxyz(end), weight)
    np.testing.assert_allclose(quat_wxyz_to_rotvec(between), rotvec * weight, rtol=0, atol=1e-7)


def test_known_values():
    turn = rotvec_to_matrix(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], **NEAR)
    np.testing.assert_allclose(rotvec_to_quat_wxyz(np.array([np.pi, 0, 0])), [0, 1, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(sixd_to_matrix(np.array([1.0, 0, 0, 0, 1, 0])), np.eye(3))


def test_half_turns_have_a_vector():
    for axis in np.eye(3):
        half = 2 * np.outer(axis, axis) - np.eye(3)
        np.testing.assert_allclose(np.abs(matrix_to_rotvec(half)), np.pi * axis, atol=1e-9)


def test_where_the_published_formula_is_not_a_number_it_is_the_identity():
    worst = np.full((1, 3), -1e-8, np.float32)
    np.testing.assert_array_equal(rotvec_to_matrix(worst), np.eye(3, dtype=np.float32)[None])
    np.testing.assert_array_equal(rotvec_to_matrix(np.zeros(3)), np.eye(3))


def test_a_zero_sixd_is_no_rotation_at_all():
    np.testing.assert_array_equal(sixd_to_matrix(np.zeros(6)), np.zeros((3, 3)))


def test_the_type_of_the_input_is_kept():
    for function, width in ((rotvec_to_matrix, 3), (rotvec_to_quat_wxyz, 3), (sixd_to_matrix, 6)):
        assert function(np.ones((2, width), np.float32)).dtype == np.float32


def test_torch_gives_the_same():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rotvec = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    matrix, quat = rotvec_to_matrix(rotvec), rotvec_to_quat_wxyz(rotvec)
    cases = [
        (rotvec_to_matrix, rotvec),
        (rotvec_to_quat_wxyz, rotvec),
        (quat_wxyz_to_rotvec, quat),
        (matrix_to_quat_wxyz, matrix),
        (matrix_to_rotvec, matrix),
        (matrix_to_sixd, matrix),
        (sixd_to_matrix, matrix_to_sixd(matrix)),
        (lambda q: quat_slerp(q, q[::1] * 1.0, 0.3), quat),
    ]
    for function, value in cases:
        np.testing.assert_allclose(function(torch.tensor(value)).numpy(), function(value), rtol=0, atol=2e-6)
