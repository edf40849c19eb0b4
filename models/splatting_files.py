"""SplattingAvatar's files: `point_cloud.ply`, `embedding.json`, `embedding.obj` and `config.yaml`.

    <model>/config.yaml
    <model>/point_cloud/iteration_<n>/point_cloud.ply, embedding.json, embedding.obj

Nothing in these files is run. Source: reference/splatting_avatar/SPEC.md, section 2.
"""

import codecs
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes, read_json, write_whole
from marotte.models.ply import read_ply_vertices, write_ply_vertices
from marotte.models.spherical_harmonics import DEGREE_OF
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_config import SplattingConfig, read_config, write_config

PLY, EMBEDDING, MESH, CONFIG = "point_cloud.ply", "embedding.json", "embedding.obj", "config.yaml"
# The embedding's name before it was called so, and its two names that differed.
OLDER_EMBEDDING = "canonical.sample.json"
_OLDER_KEYS = {"cano_mesh": "mesh_fn", "sample_bary": "_sample_bary"}
# What the published writer gives a Gaussian.
_KNOWN = re.compile(r"[xyz]|n[xyz]|opacity|(f_dc|f_rest|scale|rot)_\d+")
_NOTE = re.compile(r"# (\d{1,9}) (vertices|triangles)\s*")


class PointCloud(NamedTuple):
    """What `point_cloud.ply` holds, float32.

    xyz: [N, 3] centres on the canonical mesh; rotations_wxyz: [N, 4] with the mesh's turn in them; log_scales:
    [N, 3]; opacity_logits: [N]; sh: [N, K, 3].
    """

    xyz: np.ndarray
    rotations_wxyz: np.ndarray
    log_scales: np.ndarray
    opacity_logits: np.ndarray
    sh: np.ndarray


def read_splatting_avatar(
    path: str | Path,
    config: SplattingConfig | str | Path | Iterable[str | Path] | None = None,
    *,
    strict: bool = False,
) -> SplattingAvatar:
    """Return the avatar in an `iteration_<n>` folder (or that of the `.ply` file that is named).

    config: the training's settings or their files; None is the `config.yaml` two folders up, or in the folder. As
    published, the embedding is laid over the point cloud: centres and rotations are its own, the rest is the point
    cloud's. strict: as in `read_point_cloud`. Raises MarotteError where a file is missing or damaged or the files
    disagree.
    """
    path = Path(path)
    folder, ply = (path.parent, path) if path.suffix == ".ply" else (path, path / PLY)
    settings = config if isinstance(config, SplattingConfig) else read_config(config or _config_of(folder))
    cloud = read_point_cloud(ply, settings.sh_degree, strict=strict)
    source = next((file for n in (EMBEDDING, OLDER_EMBEDDING) if (file := folder / n).exists()), folder / EMBEDDING)
    table = read_json(source)
    count = len(cloud.xyz)
    # The point cloud's rotation has the mesh's turn in it already and is only right where there is no other.
    rotations = (
        _array(source, table, "_rotation", (count, 4), ply.name) if "_rotation" in table else cloud.rotations_wxyz
    )
    canonical, faces = read_obj(mesh_of(source, table))
    face_ids = _indices(source, table, "sample_fidxs", count, len(faces), ply.name)
    bary = _array(source, table, "sample_bary", (count, 3), ply.name)
    uvd = _array(source, table, "_xyz", (count, 3), ply.name)
    try:
        return SplattingAvatar(
            face_ids=face_ids,
            bary=bary,
            uvd=uvd,
            rotations_wxyz=rotations,
            log_scales=cloud.log_scales,
            opacity_logits=cloud.opacity_logits,
            sh=cloud.sh,
            canonical=canonical,
            faces=faces,
            xyz_as_uvd=settings.xyz_as_uvd,
            with_mesh_scaling=settings.with_mesh_scaling,
            colours_outside=settings.convert_SHs_python,
        )
    except MarotteError as error:
        raise MarotteError(f"{folder}: {error}") from None


def mesh_of(embedding: Path, table: dict[str, Any]) -> Path:
    """Return the file of the canonical mesh that an embedding, whose content is `table`, names.

    A name from another machine, where the file does not lie here, is that of a file beside. Raises MarotteError
    where it is no name.
    """
    name = _entry(embedding, table, "cano_mesh")
    if not isinstance(name, str) or not name:
        raise MarotteError(f"{embedding} names its mesh {name!r}: 'cano_mesh' is the name of an .obj file beside it")
    mesh, beside = embedding.parent / name, embedding.parent / re.split(r"[/\\]", name)[-1]
    try:
        return beside if not mesh.exists() and beside.is_file() else mesh
    except ValueError:  # a null byte
        return mesh


def with_mesh(table: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an embedding's content with its mesh under another name."""
    key = "cano_mesh" if "cano_mesh" in table else _OLDER_KEYS["cano_mesh"]
    return {**table, key: name}


def read_point_cloud(path: str | Path, sh_degree: int | None = None, *, strict: bool = False) -> PointCloud:
    """Return the Gaussians' attributes. sh_degree: what the colours must have; None takes what is there.

    Properties go by name, numbered families by their number; others, normals too, are ignored, or refused where
    `strict`. Raises MarotteError where one is missing, is not finite, or the colours have another degree.
    """
    columns = read_ply_vertices(path)
    strange = [name for name in columns if not _KNOWN.fullmatch(name)]
    if strict and strange:
        raise MarotteError(
            f"{path} has properties that SplattingAvatar does not write: {', '.join(strange[:4])}; it is of another "
            "system, or was edited: take the file that the training wrote"
        )
    xyz = _columns(path, columns, ["x", "y", "z"])
    if not len(xyz):
        raise MarotteError(f"{path} has no Gaussians: export it again")
    rest = _family(path, columns, "f_rest", None)
    count = 1 + rest.shape[1] // 3
    if rest.shape[1] % 3 or count not in DEGREE_OF:
        raise MarotteError(f"{path} has {rest.shape[1]} 'f_rest_*': SH degrees 0 to 3 have 0, 9, 24 or 45")
    degree = DEGREE_OF[count]
    if sh_degree is not None and sh_degree != degree:
        raise MarotteError(
            f"{path} has colours of SH degree {degree}, but model.sh_degree is {sh_degree}: use the config.yaml that "
            "it was trained with"
        )
    # Channel by channel in the file: all of red's coefficients, then green's, then blue's.
    higher = rest.reshape(len(xyz), 3, count - 1).transpose(0, 2, 1)
    sh = np.concatenate([_family(path, columns, "f_dc", 3)[:, None], higher], axis=1)
    return PointCloud(
        xyz=xyz,
        rotations_wxyz=_family(path, columns, "rot", 4),
        log_scales=_family(path, columns, "scale", 3),
        opacity_logits=_columns(path, columns, ["opacity"])[:, 0],
        sh=np.ascontiguousarray(sh),
    )


def read_obj(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices [V, 3] float32 and triangles [F, 3] int32, counted from 0, of an OBJ file.

    Normals, texture coordinates and materials are ignored. Raises MarotteError where a face is no triangle or names a
    vertex that is not there, or where the counts that the published writer notes first are not those that follow.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    noted: dict[str, int] = {}
    text = read_bytes(path).removeprefix(codecs.BOM_UTF8).decode("latin-1")
    for number, line in enumerate(text.split("\n"), start=1):
        kind, *words = line.split() or [""]
        try:
            if kind == "v":
                entries = len(words[:3])
                vertices.append(list(map(float, words[:3])))
            elif kind == "f":
                entries = len(words)
                corners = [int(word.partition("/")[0]) for word in words]
                faces.append([corner - 1 if corner > 0 else corner + len(vertices) for corner in corners])
            else:
                if note := _NOTE.fullmatch(line):
                    noted[note[2]] = int(note[1])
                continue
        except ValueError:
            raise MarotteError(f"{path} line {number} is damaged: {line[:60]!r}; export it again") from None
        if entries != 3:
            if number == text.count("\n") + 1:
                raise MarotteError(f"{path} is truncated: its last line is {line[:60]!r}; copy or export it again")
            raise MarotteError(f"{path} line {number}, {line[:60]!r}, has not three entries: it must hold triangles")
    held = {"vertices": len(vertices), "triangles": len(faces)}
    for name, count in noted.items():
        if count != held[name]:
            raise MarotteError(
                f"{path} is truncated or damaged: it notes {count} {name} and holds {held[name]}; export it again"
            )
    if not faces:
        raise MarotteError(f"{path} has no triangles: name the canonical mesh, {MESH}")
    # Cut inside its last line a file may look whole: the end of that line is missing, though.
    if noted and not text.endswith("\n"):
        raise MarotteError(f"{path} is truncated: its last line has no end; copy or export it again")
    flat = [corner for face in faces for corner in face]
    if min(flat) < 0 or max(flat) >= len(vertices):
        raise MarotteError(
            f"{path} has faces with vertices {min(flat) + 1} to {max(flat) + 1}, but there are {len(vertices)}: "
            "it is truncated or damaged; export it again"
        )
    return _floats(path, "vertices", np.array(vertices)), np.array(faces, np.int32)


def gaussian_columns(
    *,
    means: np.ndarray,
    sh: np.ndarray,
    opacity_logits: np.ndarray,
    log_scales: np.ndarray,
    quats_wxyz: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return what a 3DGS point cloud has for each Gaussian, by the published names and in their order.

    means: [N, 3]; sh: [N, K, 3]; opacity_logits: [N]; log_scales: [N, 3]; quats_wxyz: [N, 4].
    """
    columns = dict(zip("xyz", means.T, strict=True))
    columns |= dict.fromkeys(("nx", "ny", "nz"), np.zeros(len(means), np.float32))
    families = {
        "f_dc": sh[:, 0],
        "f_rest": sh[:, 1:].transpose(0, 2, 1).reshape(len(means), -1),
        "opacity": opacity_logits,
        "scale": log_scales,
        "rot": quats_wxyz,
    }
    for name, values in families.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{i}": column for i, column in enumerate(values.T)}
    return columns


def write_splatting_avatar(avatar: SplattingAvatar, model: str | Path, iteration: int = 30000) -> Path:
    """Write the published layout under the folder `model` and return its `iteration_<n>` folder.

    The mesh is written with 6 decimals, as published, so what is read again may differ by 5e-7. Raises MarotteError
    where a file cannot be written.
    """
    model = Path(model)
    folder = model / "point_cloud" / f"iteration_{iteration}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MarotteError(f"cannot write {folder}: {error.strerror or error}") from None
    at_rest = avatar.drive(avatar.canonical)
    columns = gaussian_columns(
        means=at_rest.means,
        sh=avatar.sh,
        opacity_logits=avatar.opacity_logits,
        log_scales=avatar.log_scales,
        quats_wxyz=at_rest.quats_wxyz,
    )
    write_ply_vertices(folder / PLY, columns)
    write_whole(folder / MESH, _obj_text(avatar, at_rest.vertex_normals).encode())
    embedding = {
        "cano_mesh": MESH,
        "sample_fidxs": avatar.face_ids.tolist(),
        "sample_bary": avatar.bary.tolist(),
        "_xyz": avatar.uvd.tolist(),
        "_rotation": avatar.rotations_wxyz.tolist(),
    }
    write_whole(folder / EMBEDDING, json.dumps(embedding).encode())
    config = SplattingConfig(avatar.sh_degree, avatar.xyz_as_uvd, avatar.with_mesh_scaling, avatar.colours_outside)
    write_config(model / CONFIG, config)
    return folder


def _config_of(folder: Path) -> Path:
    for place in (folder.resolve().parent.parent, folder):
        if (place / CONFIG).is_file():
            return place / CONFIG
    raise MarotteError(
        f"{folder} has no {CONFIG} two folders up, so nothing says how its Gaussians follow the mesh: copy the "
        "training's there"
    )


def _obj_text(avatar: SplattingAvatar, normals: np.ndarray) -> str:
    lines = [
        f"# {len(avatar.canonical)} vertices",
        f"# {len(normals)} normals",
        "# 0 texture coordinates",
        f"# {len(avatar.faces)} triangles",
    ]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in avatar.canonical.tolist()]
    lines += [f"vn {x:.6f} {y:.6f} {z:.6f}" for x, y, z in normals.tolist()]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (avatar.faces + 1).tolist()]
    return "\n".join(lines) + "\n"


def _family(path: str | Path, columns: dict[str, np.ndarray], name: str, width: int | None) -> np.ndarray:
    """Return the columns `name_<i>` by i as [N, width]; None takes as many as there are."""
    numbers = [key.removeprefix(f"{name}_") for key in columns if key.startswith(f"{name}_")]
    if width is None:
        width = len(numbers)
    elif len(numbers) > width:
        raise MarotteError(f"{path} has {len(numbers)} '{name}_*', expected {width}: it is of another kind of splats")
    return _columns(path, columns, [f"{name}_{i}" for i in range(width)])


def _columns(path: str | Path, columns: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    missing = [name for name in names if name not in columns]
    if missing:
        raise MarotteError(f"{path} lacks {', '.join(missing[:4])}: it is not a point cloud of SplattingAvatar")
    held = [_floats(path, name, columns[name]) for name in names]
    return np.stack(held, axis=1) if held else np.zeros((len(columns["x"]), 0), np.float32)


def _entry(path: Path, table: dict[str, Any], key: str) -> Any:
    name = key if key in table else _OLDER_KEYS.get(key, key)
    if name not in table:
        raise MarotteError(f"{path} lacks {key!r}: it is not an embedding of SplattingAvatar")
    return table[name]


def _array(path: Path, table: dict[str, Any], key: str, shape: tuple[int, ...], ply: str) -> np.ndarray:
    """Return an entry as float32 of this shape."""
    return _floats(path, key, _shaped(path, table, key, shape, ply))


def _indices(path: Path, table: dict[str, Any], key: str, count: int, faces: int, ply: str) -> np.ndarray:
    array = _shaped(path, table, key, (count,), ply)
    if array.dtype.kind not in "iu":
        raise MarotteError(f"{path} has {key!r} that are not whole numbers: export it again")
    if array.min() < 0 or array.max() >= faces:
        raise MarotteError(
            f"{path} has {key!r} from {array.min()} to {array.max()}, but its mesh has {faces} faces: "
            "it belongs to another mesh"
        )
    return array.astype(np.int32)


def _shaped(path: Path, table: dict[str, Any], key: str, shape: tuple[int, ...], ply: str) -> np.ndarray:
    try:
        array = np.array(_entry(path, table, key))
    except ValueError:
        raise MarotteError(f"{path} has {key!r} with rows of unequal length: export it again") from None
    if array.dtype.kind not in "iuf":
        raise MarotteError(f"{path} has {key!r} with something that is no number: export it again")
    if array.shape != shape:
        raise MarotteError(
            f"{path} has {key!r} of shape {list(array.shape)}, expected {list(shape)} for the {shape[0]} Gaussians of "
            f"{ply}: the two belong together, take both from one folder"
        )
    return array


def _floats(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return the array as float32; raise MarotteError where that is not finite."""
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(floats))
    if len(bad):
        at = ", ".join(map(str, bad[0]))
        raise MarotteError(
            f"{path} has {name!r} {float(array[tuple(bad[0])])} at {at} ({len(bad)} such): "
            "numbers must be finite; export it again"
        )
    return floats
