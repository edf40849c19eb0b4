"""FLAME's files and our own head format, as the fields of a `FlameModel`.

Source: reference/flame/SPEC.md, section 5. All reading goes through `safe_files`; nothing in a file is run.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame_landmarks import CONTOUR_POINTS, CONTOUR_ROWS, Embedding, Landmarks
from marotte.models.flame_lbs import JOINTS
from marotte.models.plain_files import packed_npz, write_whole
from marotte.models.safe_files import read_any, read_pickle
from marotte.models.safe_values import Damage, SparseColumns

FORMAT = "marotte-head-1"

# Columns of FLAME's shape directions. Expression begins at 300 however many identity columns are kept.
_IDENTITY, _EXPRESSION = 300, 100
_MOST_EXPRESSIONS = 1000

# Prefix in our own format, and number of points, of each embedding.
_MARKS = {
    "static51": ("lmk51", (51,)),
    "contour": ("contour", (CONTOUR_ROWS, CONTOUR_POINTS)),
    "full68": ("lmk68", (68,)),
    "full70": ("lmk70", (70,)),
    "mediapipe105": ("lmk105", (105,)),
}


def read_head(
    path: str | Path,
    n_shape: int,
    n_expression: int,
    basis: str | None,
    landmarks: Sequence[str | Path],
    masks: str | Path | None,
    eyelids: tuple[str | Path, str | Path] | None,
) -> dict[str, Any]:
    """Return the fields of the `FlameModel` in these files; see `FlameModel.load`."""
    content = read_any(path)
    if not isinstance(content, dict):
        raise MarotteError(f"{path} holds a {type(content).__name__}, not a head model: name a FLAME or marotte file")
    if "format" in content:
        head = _own(path, content, basis)
    elif "flame_model" in content:
        head = _published(path, content["flame_model"], n_shape, n_expression, basis)
        head["landmarks"] = _landmarks_of(path, content.get("lmk_embeddings", {})).merged(
            _landmarks_of(path, content.get("lmk_embeddings_mediapipe", {}))
        )
    else:
        head = _published(path, content, n_shape, n_expression, basis)
    for extra in landmarks:
        head["landmarks"] = (head.get("landmarks") or Landmarks()).merged(read_landmarks(extra))
    if masks is not None:
        head["masks"] = read_masks(masks)
    if eyelids is not None:
        head["eyelid_fields"] = read_eyelid(eyelids[0]), read_eyelid(eyelids[1])
    return head


def read_landmarks(path: str | Path) -> Landmarks:
    """Read landmark_embedding.npy or mediapipe_landmark_embedding.npz, told by their keys."""
    content = read_any(path)
    marks = _landmarks_of(path, content if isinstance(content, dict) else {})
    if all(getattr(marks, name) is None for name in _MARKS):
        raise MarotteError(f"{path} holds no landmark embedding: name landmark_embedding.npy or mediapipe's npz")
    return marks


def read_masks(path: str | Path) -> dict[str, np.ndarray]:
    """Read FLAME_masks.pkl: vertex indices [N] int32 by name of the region."""
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise MarotteError(f"{path} holds no masks: name FLAME_masks.pkl")
    return {str(name): _indices(path, str(name), value, (-1,)) for name, value in content.items()}


def read_eyelid(path: str | Path) -> np.ndarray:
    """Read l_eyelid.npy or r_eyelid.npy of metrical-tracker: [V, 3] metres, float32."""
    return _floats(path, "eyelid field", read_any(path), (-1, 3))


def write_head(
    path: str | Path, head: Mapping[str, Any], embeddings: Mapping[str, Embedding], directions: type[np.floating]
) -> None:
    """Write our own format under its final name only when whole; see `FlameModel.save`."""
    slots = np.flatnonzero(np.any(head["expression_dirs"] != 0, axis=(0, 1)))
    rows, cols = np.nonzero(head["joint_regressor"])
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "basis": np.array(head["basis"]),
        "v_template": head["v_template"],
        "faces": head["faces"],
        "shape_dirs": head["shape_dirs"].astype(directions),
        "expression_dirs": head["expression_dirs"][..., slots].astype(directions),
        "expression_slots": slots.astype(np.int32),
        "n_expression": np.array(head["expression_dirs"].shape[-1]),
        "pose_dirs": head["pose_dirs"].astype(directions),
        "joint_regressor_rows": rows.astype(np.int32),
        "joint_regressor_cols": cols.astype(np.int32),
        "joint_regressor_values": head["joint_regressor"][rows, cols],
        "skinning_weights": head["skinning_weights"],
        "parents": np.array(head["parents"], np.int32),
    }
    for name, embedding in embeddings.items():
        prefix = _MARKS[name][0]
        arrays |= {f"{prefix}_faces": embedding.faces, f"{prefix}_bary": embedding.bary}
    if head["landmarks"] is not None and head["landmarks"].mediapipe_ids is not None:
        arrays["lmk105_ids"] = head["landmarks"].mediapipe_ids
    if head["eyelid_fields"] is not None:
        arrays["eyelid_left"], arrays["eyelid_right"] = head["eyelid_fields"]
    arrays |= {f"mask_{name}": value for name, value in head["masks"].items()}
    arrays |= {f"render_{name}": value for name, value in head["render"].items()}
    # In float32 directions hardly shrink: 9 would take up to three times as long and save a thousandth.
    write_whole(Path(path), packed_npz(arrays, level=6 if directions is np.float32 else 9))


def _published(path: str | Path, content: Any, n_shape: int, n_expression: int, basis: str | None) -> dict[str, Any]:
    """Return the fields of FLAME's own dict, from the pkl or the pt."""
    needed = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
    missing = [n for n in needed if not isinstance(content, dict) or n not in content]
    if missing:
        raise MarotteError(f"{path} is not a FLAME model, it lacks {', '.join(missing)}: name generic_model.pkl")
    if not 0 <= n_shape <= _IDENTITY or not 0 <= n_expression <= _EXPRESSION:
        raise MarotteError(
            f"n_shape {n_shape} or n_expression {n_expression} is more than FLAME has: at most {_IDENTITY} and "
            f"{_EXPRESSION}"
        )
    template = _floats(path, "v_template", content["v_template"], (-1, 3))
    count = len(template)
    directions = _floats(path, "shapedirs", content["shapedirs"], (count, 3, -1))
    if directions.shape[-1] < _IDENTITY + n_expression:
        raise MarotteError(
            f"{path} has {directions.shape[-1]} shape columns, {_IDENTITY + n_expression} are needed: "
            "use the full model, or a smaller n_expression"
        )
    tree = np.asarray(content["kintree_table"])
    if tree.shape != (2, JOINTS):
        raise MarotteError(f"{path} has kintree_table {list(tree.shape)}, expected [2, {JOINTS}]: it is not FLAME's")
    return {
        "v_template": template,
        "faces": _indices(path, "f", content["f"], (-1, 3)),
        "shape_dirs": np.ascontiguousarray(directions[..., :n_shape]),
        "expression_dirs": np.ascontiguousarray(directions[..., _IDENTITY : _IDENTITY + n_expression]),
        "pose_dirs": _floats(path, "posedirs", content["posedirs"], (count, 3, 36)),
        "joint_regressor": _floats(path, "J_regressor", _dense(path, content["J_regressor"], count), (JOINTS, count)),
        "skinning_weights": _floats(path, "weights", content["weights"], (count, JOINTS)),
        # The root's entry is 2^32 - 1 or -1, by file: overwritten, never cast.
        "parents": (-1, *(int(parent) for parent in tree[0, 1:])),
        "basis": basis or _guessed_basis(path),
    }


def _guessed_basis(path: str | Path) -> str:
    """Return the basis by the file's name, and say so: the coefficients of 2020 and 2023 do not interchange."""
    basis = "flame2023" if "2023" in Path(path).name else "flame2020"
    warnings.warn(f"{path} does not say its basis: taken as {basis} by its name; say basis= to be sure", stacklevel=5)
    return basis


def _own(path: str | Path, content: dict[str, np.ndarray], basis: str | None) -> dict[str, Any]:
    """Return the fields of our own format."""
    if str(content["format"]) != FORMAT:
        raise MarotteError(
            f"{path} has format {str(content['format'])!r}, this version reads {FORMAT!r}: update marotte"
        )
    template = _stored(path, content, "v_template", (-1, 3))
    count = len(template)
    columns = _stored(path, content, "expression_dirs", (count, 3, -1))
    slots = _indices(path, "expression_slots", _get(path, content, "expression_slots"), (columns.shape[-1],))
    width = int(_get(path, content, "n_expression"))
    if not 0 <= width <= _MOST_EXPRESSIONS or len(set(slots.tolist())) != len(slots) or (slots >= width).any():
        raise MarotteError(f"{path} has expression_slots that do not fit n_expression {width}: bake the head again")
    expression = np.zeros((count, 3, width), np.float32)
    expression[..., slots] = columns
    marks = {
        name: _embedding(path, content[f"{prefix}_faces"], _get(path, content, f"{prefix}_bary"), shape)
        for name, (prefix, shape) in _MARKS.items()
        if f"{prefix}_faces" in content
    }
    lids = None
    if "eyelid_left" in content:
        lids = tuple(_stored(path, content, f"eyelid_{side}", (count, 3)) for side in ("left", "right"))
    parents = _get(path, content, "parents")
    return {
        "v_template": template,
        "faces": _indices(path, "faces", _get(path, content, "faces"), (-1, 3)),
        "shape_dirs": _stored(path, content, "shape_dirs", (count, 3, -1)),
        "expression_dirs": expression,
        "pose_dirs": _stored(path, content, "pose_dirs", (count, 3, 36)),
        "joint_regressor": _regressor(path, content, count),
        "skinning_weights": _stored(path, content, "skinning_weights", (count, JOINTS)),
        "parents": tuple(int(parent) for parent in parents),
        "basis": basis or str(_get(path, content, "basis")),
        "landmarks": Landmarks(**marks, mediapipe_ids=content.get("lmk105_ids")) if marks else None,
        "masks": {
            name.removeprefix("mask_"): _indices(path, name, value, (-1,))
            for name, value in content.items()
            if name.startswith("mask_")
        },
        "eyelid_fields": lids,
        "render": {
            name.removeprefix("render_"): value for name, value in content.items() if name.startswith("render_")
        },
    }


def _regressor(path: str | Path, content: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Return the joint regressor [5, V], stored whole or as its entries."""
    if "joint_regressor" in content:
        return _stored(path, content, "joint_regressor", (JOINTS, count))
    values = _stored(path, content, "joint_regressor_values", (-1,))
    rows, cols = (
        _indices(path, name, _get(path, content, name), (len(values),))
        for name in ("joint_regressor_rows", "joint_regressor_cols")
    )
    if (rows >= JOINTS).any() or (cols >= count).any():
        raise MarotteError(f"{path} has a joint regressor beyond {JOINTS} x {count}: bake the head again")
    dense = np.zeros((JOINTS, count), np.float32)
    dense[rows, cols] = values
    return dense


def _landmarks_of(path: str | Path, content: dict[str, Any]) -> Landmarks:
    """Return the embeddings among FLAME's or mediapipe's keys."""
    names = {
        "static51": ("static_lmk_faces_idx", "static_lmk_bary_coords"),
        "contour": ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"),
        "full68": ("full_lmk_faces_idx", "full_lmk_bary_coords"),
        "full70": ("full_lmk_faces_idx_with_eye", "full_lmk_bary_coords_with_eye"),
        "mediapipe105": ("lmk_face_idx", "lmk_b_coords"),
    }
    found = {
        field: _embedding(path, content[faces], _get(path, content, bary), _MARKS[field][1])
        for field, (faces, bary) in names.items()
        if faces in content
    }
    ids = content.get("landmark_indices")
    return Landmarks(**found, mediapipe_ids=None if ids is None else _indices(path, "landmark_indices", ids, (105,)))


def _embedding(path: str | Path, faces: Any, bary: Any, shape: tuple[int, ...]) -> Embedding:
    """Return an embedding of this shape; the published `full_*` tables have a leading 1, or not."""
    faces, bary = np.asarray(faces), np.asarray(bary)
    if faces.shape == (1, *shape) and bary.shape == (1, *shape, 3):
        faces, bary = faces[0], bary[0]
    return Embedding(_indices(path, "landmark faces", faces, shape), _floats(path, "weights", bary, (*shape, 3)))


def _get(path: str | Path, content: dict[str, Any], name: str) -> Any:
    if name not in content:
        raise MarotteError(f"{path} lacks {name!r}: get the file again, or make it again")
    return content[name]


def _stored(path: str | Path, content: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of our own format as float32; whole numbers are multiplied by their `<name>_scale`."""
    value = _get(path, content, name)
    if value.dtype in (np.int8, np.int16):
        value = value * np.asarray(_get(path, content, f"{name}_scale"), np.float32)
    return _floats(path, name, value, shape)


def _dense(path: str | Path, regressor: Any, count: int) -> Any:
    if not isinstance(regressor, SparseColumns):
        return regressor
    if regressor.shape != (JOINTS, count):  # checked before a declared shape is believed
        raise MarotteError(f"{path} has J_regressor {list(regressor.shape)}, expected [{JOINTS}, {count}]")
    try:
        return regressor.dense()
    except Damage as damage:
        raise MarotteError(f"{path} is damaged: {damage}. Download or copy it again") from None


def _floats(path: str | Path, name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a contiguous float32 array of this shape (-1: any), all finite; raise MarotteError otherwise."""
    array = _numbers(path, name, value, shape, "fiu")
    array = np.require(array, np.float32, ["C", "A"])
    if not np.isfinite(array).all():
        raise MarotteError(f"{path} has values in {name!r} that are not finite: get the file again")
    return array


def _indices(path: str | Path, name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a contiguous int32 array of this shape (-1: any), none below 0; raise MarotteError otherwise."""
    array = _numbers(path, name, value, shape, "iu")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**31:
        raise MarotteError(f"{path} has indices in {name!r} outside any mesh: get the file again")
    return np.require(array, np.int32, ["C", "A"])


def _numbers(path: str | Path, name: str, value: Any, shape: tuple[int, ...], kinds: str) -> np.ndarray:
    array = value if isinstance(value, np.ndarray) else np.zeros(0)
    if array.ndim != len(shape) or any(want not in (-1, n) for want, n in zip(shape, array.shape, strict=True)):
        wanted = ["any" if n < 0 else n for n in shape]
        raise MarotteError(
            f"{path} has {name!r} of shape {list(np.shape(array))}, expected {wanted}: not a file of FLAME"
        )
    if array.dtype.kind not in kinds:
        raise MarotteError(f"{path} has {name!r} of type {array.dtype}: not FLAME's")
    return array
