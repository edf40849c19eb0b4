"""What the network hears of a camera, of numpy arrays and torch tensors alike."""

from typing import Any

from array_api_compat import array_namespace


def camera_token(R_world_to_camera: Any, t: Any) -> Any:
    """Return what the network hears of cameras, [..., 12] float32: R transposed, row by row, then t as it is.

    R_world_to_camera: [..., 3, 3], OpenCV axes (x right, y down, z forward). t: [..., 3] in the tracker's unit, about
    -7 to 7. Source: reference/gaussiantalker/SPEC.md, sections 4.4 and 6.2.
    """
    xp = array_namespace(R_world_to_camera, t)
    stored = xp.reshape(xp.matrix_transpose(R_world_to_camera), (*t.shape[:-1], 9))
    return xp.astype(xp.concat([stored, t], axis=-1), xp.float32)
