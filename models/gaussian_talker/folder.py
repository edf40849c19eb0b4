"""What a training of GaussianTalker leaves on disk, and which of it is drawn.

    MODEL/cfg_args
    MODEL/point_cloud/iteration_<n>/point_cloud.ply, deformation.pth
    MODEL/point_cloud/coarse_iteration_<n>/...        the first stage, which does not talk

Source: reference/gaussiantalker/SPEC.md, section 2.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes

PLY, DEFORMATION, CFG_ARGS, CLOUDS = "point_cloud.ply", "deformation.pth", "cfg_args", "point_cloud"
# The name of MODEL in an export.
EXPORTED = "model"
_ITERATION = re.compile(r"iteration_(\d{1,12})")
_COARSE = "coarse_iteration_"
# The published files have 3 KB.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class ModelFolder:
    """A trained head. folder: MODEL; iteration: the folder of its two files; cfg_args: what its training noted, empty
    where that file is missing."""

    folder: Path
    iteration: Path
    cfg_args: dict[str, Any]

    @property
    def ply(self) -> Path:
        """The Gaussians."""
        return self.iteration / PLY

    @property
    def deformation(self) -> Path:
        """The network's weights."""
        return self.iteration / DEFORMATION


def find_model(path: str | Path) -> ModelFolder:
    """Return the head at a path: MODEL, its `point_cloud`, one `iteration_<n>`, a file of any of these, or the folder
    that `model` and `data` lie in, as an export writes them.

    Unless one is named, the iteration is the largest that has both files; folders of the coarse stage do not count.
    Raises MarotteError where there is none, or `cfg_args` is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise MarotteError(f"{path} is not there: name the folder of a trained GaussianTalker")
    place = path.absolute().parent if path.is_file() else path.absolute()
    if not (place / CLOUDS).is_dir() and (place / EXPORTED / CLOUDS).is_dir():
        place = place / EXPORTED
    if place.name.startswith(_COARSE):
        raise MarotteError(f"{path} is of the coarse stage of the training, which does not talk: name iteration_<n>")
    if _ITERATION.fullmatch(place.name) or _whole(place):
        iteration, missing = place, [name for name in (PLY, DEFORMATION) if not (place / name).is_file()]
        if missing:
            raise MarotteError(f"{path} has no {' and no '.join(missing)}: name the folder of a whole training")
    else:
        clouds = place / CLOUDS if (place / CLOUDS).is_dir() else place
        iteration = _latest(path, clouds)
    above = iteration.parent.parent if iteration.parent.name == CLOUDS else iteration
    noted = next((file for file in (above / CFG_ARGS, iteration / CFG_ARGS) if file.is_file()), None)
    return ModelFolder(above, iteration, read_cfg_args(noted) if noted else {})


def _whole(folder: Path) -> bool:
    return (folder / PLY).is_file() and (folder / DEFORMATION).is_file()


def _latest(path: Path, clouds: Path) -> Path:
    try:
        folders = [entry for entry in clouds.iterdir() if entry.is_dir()]
    except OSError as error:
        raise MarotteError(f"cannot read {clouds}: {error.strerror or error}") from None
    numbered = {int(match[1]): entry for entry in folders if (match := _ITERATION.fullmatch(entry.name))}
    for number in sorted(numbered, reverse=True):
        if _whole(numbered[number]):
            return numbered[number]
    wanted = f"{CLOUDS}/iteration_<n> with {PLY} and {DEFORMATION}"
    if any(entry.name.startswith(_COARSE) for entry in folders):
        raise MarotteError(
            f"{path} has the coarse stage of a training only, which does not talk: train on until it has {wanted}"
        )
    raise MarotteError(f"{path} has no {wanted}: it is no trained GaussianTalker")


def read_cfg_args(path: str | Path) -> dict[str, Any]:
    """Return what a training noted: the literals of `Namespace(key=value, ...)` by name; nothing is evaluated.

    Raises MarotteError where the file is something else, or a value is more than a literal.
    """
    data = read_bytes(path)
    if len(data) > _LONGEST:
        raise MarotteError(f"{path} has {len(data)} bytes, at most {_LONGEST} are read: it is no cfg_args")
    try:
        call = ast.parse(data.decode().strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise MarotteError(f"{path} is no cfg_args of a training ({_line(error)}): copy it again") from None
    match call:
        case ast.Call(func=ast.Name(id="Namespace"), args=[], keywords=noted) if all(each.arg for each in noted):
            return {str(each.arg): _literal(path, each) for each in noted}
    raise MarotteError(f"{path} is not one line Namespace(key=value, ...): copy the training's cfg_args again")


def _literal(path: str | Path, keyword: ast.keyword) -> Any:
    try:
        return ast.literal_eval(keyword.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        wanted = "expected a plain number, text, list or dictionary; nothing else is evaluated"
        raise MarotteError(f"{path} has {keyword.arg} as something else: {wanted}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__
