"""Where imported avatars lie: each appears under its name when it is whole, and goes at once."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.avatar import SHIPPED, avatar_folders
from marotte.runtime.places import data_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Folders that say nothing about who is in them.
_GENERAL = {"output", "outputs", "output-splatting", "last_checkpoint", "point_cloud", "model", "results", "checkpoint"}


def store_folder(given: str | Path | None = None) -> Path:
    """Return the folder that avatars are imported to: the given one, $MAROTTE_AVATARS, or the user's data folder's."""
    return Path(given) if given is not None else data_folder("avatars")


def default_name(model: Path) -> str:
    """Return a name made of the first telling folder of a path. Raises MarotteError where there is none."""
    for folder in (model, *model.parents):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._").lower()[:64]
        if name and name not in _GENERAL and not re.fullmatch(r"[\d._-]+|iteration.*", name):
            return name
    raise MarotteError(f"{model} gives the avatar no name: give --name NAME")


def check_name(name: str, store: Path, replace: bool) -> Path:
    """Return the folder of a new avatar.

    Raises MarotteError where the name is none, is a shipped avatar's, or is taken and not to be replaced.
    """
    if not _NAME.fullmatch(name):
        raise MarotteError(
            f"avatar name {name!r} cannot be a folder's: use up to 64 letters, digits, '.', '_', '-', the first a "
            "letter or digit"
        )
    if (SHIPPED / name).exists():
        raise MarotteError(f"{name} is the name of an avatar that comes with Marotte: give another --name")
    folder = store / name
    if folder.exists() and not replace:
        raise MarotteError(f"there is an avatar {name} at {folder}: give another --name, or --replace")
    if folder.exists() and not (folder / "avatar.toml").is_file():
        raise MarotteError(f"{folder} is there and is no avatar, so it is not replaced: give another --name")
    return folder


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `folder`, in place of an older one, when the block ends well, else it goes.

    Raises MarotteError where it cannot be written.
    """
    stage = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    older = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        stage.mkdir(parents=True)
        yield stage
        try:
            if folder.exists():
                os.replace(folder, older)
            os.replace(stage, folder)
        except BaseException:
            if older.exists() and not folder.exists():
                os.replace(older, folder)
            raise
    except OSError as error:
        raise MarotteError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        for rest in (stage, older):
            shutil.rmtree(rest, ignore_errors=True)


def remove_avatar(name: str, store: str | Path | None = None) -> Path:
    """Remove an imported avatar and return the folder that it was.

    Raises MarotteError for one that comes with Marotte, for a folder outside the store, and where it cannot go.
    """
    root = store_folder(store)
    own = {toml.parent.name: toml.parent for toml in sorted(root.glob("[!.]*/avatar.toml"))}
    if name not in own:
        if name in avatar_folders():
            raise MarotteError(f"{name} comes with Marotte: only imported avatars can be removed")
        if Path(name).is_dir():
            raise MarotteError(f"{name} is a folder: remove it yourself; avatars in {root} are removed by their name")
        raise unknown_name("imported avatar", name, own)
    doomed = root / f".{name}.{os.getpid()}.old"
    try:
        # By its new name it is out of sight at once, whatever stops the deletion.
        if own[name].is_symlink():
            own[name].unlink()
        else:
            os.replace(own[name], doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        raise MarotteError(f"cannot remove {own[name]}: {error.strerror or error}") from error
    return own[name]
