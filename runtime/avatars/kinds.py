"""What can be imported: told apart by content, and handed to what imports it."""

from dataclasses import MISSING, fields
from pathlib import Path

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.assets import asset_path
from marotte.runtime.avatars.entry import TRACKER, holds_entries
from marotte.runtime.avatars.given import Given, Imported, Look

TRACKED_ASSET = "GAGAvatar/tracked.pt"
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# What GaussianTalker's settings have and no other scene's.
_TALKER_SETTINGS = b"kplanes_config"
_MOST_SETTINGS = 1 << 16
# What each kind reads of `Given`, beside the name and what is recorded of a person.
_ALL = {"name", "title", "subject", "consent", "licence", "replace", "ask"}
_READS = {
    "splatting-avatar": {
        *("flame", "landmarks", "masks", "eyelids", "data", "identity", "configs", "basis", "unit"),
    },
    "gagavatar": {"flame", "landmarks", "masks", "eyelids", "data", "entry", "mask", "network"},
    "gaussian-talker": {"data", "configs", "network", "features", "frames"},
}
KINDS = tuple(_READS)


def kind_of(path: str | Path) -> str:
    """Return the name of what a path is. What is none of the others is taken for SplattingAvatar, whose import says so.

    Raises MarotteError for a photo, with what has to be done to it first.
    """
    path = Path(path)
    if not path.exists():
        if str(path) == TRACKED_ASSET:
            return "gagavatar"
        raise MarotteError(f"{path} is not there: name a trained avatar's folder, or GAGAvatar's tracked.pt")
    _check_no_photo(path)
    if _is_talker(path):
        return "gaussian-talker"
    return "gagavatar" if holds_entries(path) else "splatting-avatar"


def import_avatar(
    path: str | Path,
    given: Given | None = None,
    *,
    kind: str | None = None,
    store: str | Path | None = None,
    look: Look | None = None,
) -> Imported:
    """Import what a path is under a name into the store and return it.

    kind: one of KINDS, where its content does not say it or says something else. Raises MarotteError as the imports do,
    and where something is given that this kind does not read.
    """
    given = given or Given()
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind of avatar", kind, KINDS)
    kind = kind or kind_of(path)
    _check_given(given, kind)
    if kind == "gagavatar":
        from marotte.runtime.avatars.gagavatar import import_gagavatar

        _check_no_photo(Path(path))
        place = asset_path(TRACKED_ASSET) if str(path) == TRACKED_ASSET and not Path(path).exists() else path
        return import_gagavatar(place, given, store=store, look=look)
    if kind == "gaussian-talker":
        from marotte.runtime.avatars.talker import import_talker

        return import_talker(path, given, store=store, look=look)
    from marotte.runtime.avatars.splatting import import_splatting_avatar

    return import_splatting_avatar(path, given, store=store, look=look)


def _check_no_photo(path: Path) -> None:
    """Raise MarotteError for a photo, with what has to be done to it first."""
    if path.is_file() and path.suffix.lower() in _PICTURES:
        raise MarotteError(
            f"{path} is a picture that is not tracked: {TRACKER} makes tracked.pt of it (head, camera and matte); "
            "import that"
        )


def _check_given(given: Given, kind: str) -> None:
    """Raise MarotteError for what a kind would leave unread."""
    for field in fields(Given):
        default = field.default if field.default is not MISSING else None
        if field.name not in _ALL | _READS[kind] and getattr(given, field.name) != default:
            readers = " and ".join(name for name in KINDS if field.name in _READS[name])
            option = {"configs": "config"}.get(field.name, field.name)
            raise MarotteError(f"--{option} is for {readers}, this is {kind}: leave it out, or say --as")


def _is_talker(path: Path) -> bool:
    """Tell whether a path is GaussianTalker's model folder, or in it."""
    folder = path if path.is_dir() else path.parent
    try:
        found = [*folder.glob("deformation.pth"), *folder.glob("iteration_*/deformation.pth")]
        found += folder.glob("point_cloud/iteration_*/deformation.pth")
        found += folder.glob("model/point_cloud/iteration_*/deformation.pth")
        if found and (path.is_dir() or path.suffix in (".ply", ".pth") or path.name == "cfg_args"):
            return True
        settings = path if path.name == "cfg_args" and path.is_file() else folder / "cfg_args"
        if not settings.is_file() or not (path.is_dir() or path == settings):
            return False
        with settings.open("rb") as file:
            return _TALKER_SETTINGS in file.read(_MOST_SETTINGS)
    except OSError:
        return False
