"""Import a GAGAvatar: one tracked picture, FLAME, and the name of the network that draws it.

What is kept is all that the renderer needs but the network, which is an asset of its own (`GAGAvatar/GAGAvatar.pt`).
Source: reference/gagavatar/SPEC.md, sections 2, 8 and 11.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.plain_files import write_whole, written_whole
from marotte.runtime.assets import catalogue, examine
from marotte.runtime.avatar import Avatar, Framing, load_avatar
from marotte.runtime.avatars.companions import find_extras, flame_near, no_flame
from marotte.runtime.avatars.entry import SHAPES, Entry, holds_entries, picture, read_entry, write_source
from marotte.runtime.avatars.given import FLAME_TERMS, Given, Imported, Look
from marotte.runtime.avatars.store import check_name, default_name, staged, store_folder
from marotte.runtime.avatars.toml import FILE, avatar_text, file_hashes
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.formats.gagavatar import SIZE, UNIT, gagavatar_to_opencv

RENDERER = "gagavatar"
NETWORK = "GAGAvatar/GAGAvatar.pt"
VERTICES, EXPRESSIONS = 5023, 100
SOURCE, PICTURE, FIT = "source.npz", "source.png", "fit.png"
BASIS = "flame2020"
_FLAMES = "FLAME_with_eye.pt or generic_model.pkl"
_OTHER_YEAR = "2023"


@dataclass(eq=False)
class Tracked:
    """A tracked picture and where it came from, in words. overlay: shows how FLAME lies on it, as PNG bytes."""

    entry: Entry
    origin: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    overlay: bytes = b""


def import_gagavatar(
    path: str | Path, given: Given | None = None, *, store: str | Path | None = None, look: Look | None = None
) -> Imported:
    """Import a tracked picture under a name into the store and return the avatar.

    path: `tracked.pt`, a file of one entry, a folder with one of them, or metrical-tracker's frames. look: is shown
    the whole avatar before it gets its name; what it raises undoes the import. Raises MarotteError with one line that
    says what is wrong and what would mend it; the store is as before then.
    """
    path, given = Path(path), given or Given()
    if not path.exists():
        raise MarotteError(f"{path} is not there: name GAGAvatar's tracked.pt, or `marotte assets fetch gagavatar`")
    network = _network(given)
    flame_path, flame, notes = _flame(path, given)
    tracked = _tracked(path, given, flame)
    name = _name(tracked.entry.name) if given.name is None else given.name
    folder = check_name(name, store_folder(store), given.replace)
    with staged(folder) as stage:
        avatar = _write(stage, folder.name, tracked, flame, flame_path, network, given)
        if look is not None:
            look(avatar)
    done = load_avatar(folder)
    notes += tracked.notes
    if tracked.entry.empty:
        notes.append(f"the picture of {tracked.entry.name} is black all over: there is nobody in it to draw")
    return Imported(done, tuple(_facts(done, tracked, flame_path)), tuple(notes))


def network_file(avatar: Avatar, *, hashed: bool = False) -> tuple[Path, str]:
    """Return the file of an avatar's network and why it cannot be used, empty where nothing speaks against it.

    hashed: also where an asset has to be read whole for that, once.
    """
    asset = catalogue().get(avatar.network)
    if asset is None:
        path = avatar.path / avatar.network
        return path, "" if path.exists() else f"{path} is not there: get it, or import again with --network FILE"
    found = examine(asset, hashed=hashed)
    if found.state == "missing":
        return found.path, f"{asset.name} is not here yet: {asset.way}"
    return found.path, f"{found.path} {found.why}: {asset.way}" if found.state == "wrong" else ""


def _tracked(path: Path, given: Given, flame: FlameModel) -> Tracked:
    from marotte.runtime.cameras.formats.metrical import frame_files

    if frame_files(path) and not holds_entries(path):
        from marotte.runtime.avatars.gagavatar_frames import tracked_from_frame

        return tracked_from_frame(path, given, flame)
    for name, value in (("data", given.data), ("mask", given.mask)):
        if value is not None:
            raise MarotteError(
                f"--{name} is for metrical-tracker's frames; {path} has pictures that are cut out already"
            )
    entry = read_entry(path, given.entry)
    return Tracked(entry, f"GAGAvatar, {entry.name} of {path.name}")


def _network(given: Given) -> str:
    """Return what draws the avatar: the asset's name, or a file's whole path."""
    if given.network is None:
        return NETWORK
    if not given.network.is_file():
        raise MarotteError(f"--network {given.network} is no file: name GAGAvatar.pt, or leave it out for the asset's")
    return str(given.network.resolve())


def _flame(path: Path, given: Given) -> tuple[Path, FlameModel, list[str]]:
    """Return FLAME's file, the model with all its coefficients, and notes.

    Raises MarotteError where there is none of 5023 vertices.
    """
    near = flame_near((path if path.is_dir() else path.parent).resolve())
    found = [given.flame] if given.flame is not None else [file for file in near if _OTHER_YEAR not in file.name]
    if not found:
        raise no_flame(path, _FLAMES)
    why: MarotteError | None = None
    for file in sorted(found, key=lambda file: file.suffix != ".pt"):  # as published
        try:
            extras = find_extras(file, given.landmarks, given.masks, given.eyelids)
            flame = FlameModel.load(
                file, basis=BASIS, landmarks=extras.landmarks, masks=extras.masks, eyelids=extras.eyelids
            )
            check_flame(file, flame)
        except MarotteError as error:
            why = why or error
            continue
        return file, flame, list(extras.notes)
    assert why is not None
    raise why


def check_flame(file: Path, flame: FlameModel) -> None:
    """Raise MarotteError where a head model is not the one that GAGAvatar was trained with."""
    if _OTHER_YEAR in file.name:
        raise MarotteError(f"{file} is FLAME 2023, GAGAvatar was trained with FLAME 2020: name {_FLAMES}")
    if len(flame.v_template) != VERTICES:
        raise MarotteError(
            f"{file} has {len(flame.v_template)} vertices, GAGAvatar has a Gaussian for each of FLAME's {VERTICES}: "
            f"name {_FLAMES}"
        )
    counts = flame.shape_dirs.shape[-1], flame.expression_dirs.shape[-1]
    if counts != (SHAPES, EXPRESSIONS):
        raise MarotteError(
            f"{file} has {counts[0]} identity and {counts[1]} expression coefficients, GAGAvatar needs {SHAPES} and "
            f"{EXPRESSIONS}: name {_FLAMES}"
        )


def _name(entry: str) -> str:
    """Return an avatar's name made of a picture's."""
    stem = Path(entry).stem
    try:
        return default_name(Path(stem))
    except MarotteError:
        return default_name(Path(f"gagavatar-{stem}"))


def _write(
    stage: Path, name: str, tracked: Tracked, flame: FlameModel, flame_path: Path, network: str, given: Given
) -> Avatar:
    """Write the avatar's folder and return it as an avatar."""
    from PIL import Image

    entry = tracked.entry
    write_source(stage / SOURCE, entry)
    with written_whole(stage / PICTURE) as part:
        Image.fromarray(picture(entry)).save(part, "PNG")
    if tracked.overlay:
        write_whole(stage / FIT, tracked.overlay)
    flame.save(stage / "head.npz", exact=True)
    np.save(stage / "shape.npy", entry.shapecode)
    avatar = Avatar(
        name=name,
        path=stage,
        renderer=RENDERER,
        basis=BASIS,
        head="head.npz",
        shape="shape.npy",
        network=network,
        source=SOURCE,
        title=" ".join((given.title or "").split()) or f"{name}, a GAGAvatar of one picture",
        expressions=EXPRESSIONS,
        unit=UNIT,
        head_rotation="camera",
        framings={"head": framing(gagavatar_to_opencv(entry.transform_matrix))},
        size=(SIZE, SIZE),
        background="#000000",
        origin=f"{tracked.origin}, on {flame_path.name}",
        files=file_hashes(stage),
    )
    avatar = given.about(avatar, FLAME_TERMS, "for GAGAvatar's weights see their model card")
    write_whole(stage / FILE, avatar_text(avatar).encode())
    return avatar


def framing(camera: Camera) -> Framing:
    """Return the framing that looks straight at a head as far away, as large and in that place as a camera sees it."""
    x, y, distance = (float(value) for value in camera.t)
    height = SIZE * distance / camera.K[1, 1]
    return Framing((round(-x, 4), round(y, 4), 0.0), round(distance, 4), round(height, 4))


def _facts(avatar: Avatar, tracked: Tracked, flame: Path) -> Iterator[tuple[str, str]]:
    yield "avatar", f"{avatar.name} ({avatar.origin})"
    yield "picture", f"{avatar.path / PICTURE}, {SIZE}x{SIZE} on black"
    yield from tracked.facts
    distance = avatar.framings["head"].distance
    yield "camera", f"{distance:.3g} units from the head, {UNIT:g} units a metre; head motion turns it"
    yield "FLAME", f"{flame} as {avatar.basis}, {EXPRESSIONS} expressions"
    path, why = network_file(avatar)
    yield "network", why or str(path)
    for name in ("subject", "consent", "licence"):
        yield name, getattr(avatar, name)
    yield "lies in", str(avatar.path)
