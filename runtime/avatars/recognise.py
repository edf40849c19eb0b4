"""What a path is: SplattingAvatar's output in one of its layouts, or something else, which is said."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from marotte.errors import MarotteError
from marotte.models.splatting_files import CONFIG, EMBEDDING, OLDER_EMBEDDING, PLY

_ITERATION = re.compile(r"iteration_(\d+)")
_EMBEDDINGS = (EMBEDDING, OLDER_EMBEDDING)
# How far below a folder the trained model is looked for (<data>/output-splatting/<run>), among how many folders.
_DEPTH, _MOST_FOLDERS = 3, 2000

# What lies in the folders of other systems, and what they are.
_OTHERS = {
    "deformation.pth": "a GaussianTalker model, whose Gaussians move by a network and not by FLAME",
    "flame_param.npz": "a GaussianAvatars model, whose Gaussians lie in the frames of FLAME's faces",
    "cfg_args": "a plain 3D Gaussian Splatting scene, which nothing moves",
    "cameras.json": "a plain 3D Gaussian Splatting scene, which nothing moves",
}
_CAMERAS = {
    "metrical": "metrical-tracker's output: cameras and FLAME parameters, no Gaussians. Train an avatar on it first, "
    "or take one of its frames with --as gagavatar",
    "imavatar": "the data set that an avatar is trained on. Give it as --data",
    "gagavatar": "GAGAvatar's tracked pictures, which belong to its own network",
    "gaussian-talker": "GaussianTalker's tracked recording, which belongs to its own network. Name the trained folder, "
    "and give this as --data",
}
_WANTED = "name the folder that SplattingAvatar's training wrote (config.yaml and point_cloud/iteration_<n>)"


@dataclass(frozen=True)
class Trained:
    """SplattingAvatar's output: its `iteration_<n>` folder and what lies there.

    ply, embedding: files; configs: the training's settings, later ones override; iteration: n, None where the
    folder's name does not say it.
    """

    folder: Path
    ply: Path
    embedding: Path
    configs: tuple[Path, ...]

    @property
    def iteration(self) -> int | None:
        """The number in the folder's name."""
        match = _ITERATION.fullmatch(self.folder.name)
        return int(match[1]) if match else None

    @property
    def model(self) -> Path:
        """The folder of the whole run, as far as there is one."""
        whole = self.folder.resolve()
        return whole.parent.parent if whole.parent.name == "point_cloud" else whole


def recognise(path: str | Path, configs: Sequence[str | Path] = ()) -> Trained:
    """Return the trained avatar that a path leads to: the model's folder, `point_cloud`, an iteration's, or a file.

    Of several iterations it is that of the highest number. configs: in place of the `config.yaml` beside it. Raises
    MarotteError, saying what it is instead and what to do, where it is none, and where a folder holds several.
    """
    path = Path(path)
    if not path.exists():
        raise MarotteError(f"{path} is not there: {_WANTED}")
    if (path / "avatar.toml").is_file():
        raise MarotteError(f"{path} is an avatar already: use it by this path, or copy it into the store")
    folder = path if path.is_dir() else path.parent
    ply = path if path.suffix == ".ply" and path.is_file() else None
    if path.is_file() and ply is None and path.name not in (*_EMBEDDINGS, CONFIG):
        raise _not_one(path)
    found = [folder] if ply else _iterations(folder)
    models = {place.resolve().parent for place in found}
    if len(models) > 1:
        names = ", ".join(str(place) for place in sorted(models)[:4])
        raise MarotteError(f"{path} holds {len(models)} trained avatars ({names}): name one of them")
    if not found:
        raise _not_one(path)
    newest = max(found, key=lambda place: int(match[1]) if (match := _ITERATION.fullmatch(place.name)) else -1)
    embedding = next((newest / name for name in _EMBEDDINGS if (newest / name).is_file()), None)
    if embedding is None:
        raise _not_one(path, newest)
    own = [newest.resolve().parent.parent / CONFIG, newest / CONFIG]
    return Trained(
        folder=newest,
        ply=ply or newest / PLY,
        embedding=embedding,
        configs=tuple(map(Path, configs)) or tuple(file for file in own if file.is_file())[:1],
    )


def _iterations(folder: Path) -> list[Path]:
    """Return the iteration folders that a folder is, has, or has somewhere below; one folder by one name."""
    if any((folder / name).is_file() for name in (PLY, *_EMBEDDINGS)):
        return [folder]
    for place in (folder, folder / "point_cloud"):
        if found := _numbered(place):
            return found
    below = {run.resolve(): run for run in _below(folder) if _numbered(run / "point_cloud")}
    return [place for run in below.values() for place in _numbered(run / "point_cloud")]


def _numbered(folder: Path) -> list[Path]:
    return [place for place in folder.glob("iteration_*") if _ITERATION.fullmatch(place.name) and place.is_dir()]


def _below(folder: Path) -> Iterator[Path]:
    """Yield the folders below, the nearest first."""
    row, seen = [folder], 0
    for _ in range(_DEPTH):
        try:
            row = [place for parent in row for place in sorted(parent.iterdir()) if place.is_dir()]
        except OSError:
            return
        seen += len(row)
        if seen > _MOST_FOLDERS:
            return
        yield from row


def _not_one(path: Path, folder: Path | None = None) -> MarotteError:
    """Return what to say of a path that is no trained SplattingAvatar."""
    folder = folder or (path if path.is_dir() else path.parent)
    for place in (folder, folder.resolve().parent.parent, *_numbered(folder / "point_cloud")):
        for name, what in _OTHERS.items():
            if (place / name).is_file() and path.is_dir():
                return MarotteError(f"{path} is {what} ({name} is in it): {_WANTED}")
    if kind := _cameras(path):
        return MarotteError(f"{path} is {kind}; {_WANTED}")
    ply = path.name if path.suffix == ".ply" else PLY
    if (folder / ply).is_file():
        return MarotteError(
            f"{folder} has {ply} and no {EMBEDDING}, so nothing says where its Gaussians sit on a mesh: it is plain "
            f"3D Gaussian Splatting, or the training was cut short; {_WANTED}"
        )
    return MarotteError(f"{path} is no trained avatar: {_WANTED}")


def _cameras(path: Path) -> str:
    """Return what a folder or file of cameras is, empty where it is none."""
    from marotte.runtime.cameras import format_of, load_format

    try:
        name = format_of(path)
    except MarotteError:
        return ""
    return _CAMERAS.get(name, f"{load_format(name).title}: cameras, no Gaussians")
