"""A tracked recording cut down to what drawing needs, in the published form of it."""

import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.models.safe_files import read_torch_entries
from marotte.models.torch_writer import write_torch
from marotte.runtime.cameras.formats.gaussian_talker import PARAMS
from marotte.runtime.recording import Recording
from marotte.runtime.recording_files import (
    AU,
    BLINK,
    PLAIN,
    SOUND,
    TORSOS,
    Frames,
    blink_cells,
    read_splits,
    read_track,
    torso_name,
)

# Hashes of the torsos, as sha256sum writes them: thousands of pictures are one file to an avatar.
HASHES = f"{TORSOS}.sha256"
_MOST_SOUND = 200 << 20


def copy_recording(recording: Recording, frames: Frames, folder: Path, box: np.ndarray) -> list[str]:
    """Write what drawing these frames needs into a new folder, and return what was left out, in words.

    recording: as `read_recording` gave it for `frames`. box: [2, 3], largest corner first, that the network's planes
    fill: it stands for the mesh, gigabytes of vertices, of which the published reader takes the extent alone. Pictures,
    json files and audio features are copied as they are, `au.csv` with its blinks alone; all filmed frames keep their
    pose, so that `img_id` stays what it was. Raises MarotteError where something cannot be read or written.
    """
    try:
        return _copy(recording, frames, folder, box)
    except OSError as error:
        raise MarotteError(f"cannot copy {recording.path} to {folder}: {error.strerror or error}") from error


def _copy(recording: Recording, frames: Frames, folder: Path, box: np.ndarray) -> list[str]:
    source, left = recording.path, []
    folder.mkdir(parents=True)
    focal = recording.cameras[0].K[0, 0]
    for split in read_splits(source, frames):
        shutil.copyfile(split.path, folder / split.path.name)
    euler, trans = read_track(source, max(recording.ids))
    params = {"euler": euler, "trans": trans, "focal": np.array([focal]), "vertices": box[None]}
    params |= {k: v for k, v in read_torch_entries(source / PARAMS, ("focal",)).items() if isinstance(v, np.ndarray)}
    write_torch(folder / PARAMS, {name: np.asarray(array, np.float32) for name, array in params.items()})
    # The published reader asks for the column by a name with a blank before it.
    rows = [f"{i + 1}, {cell}" for i, cell in enumerate(blink_cells(source / AU))]
    write_whole(folder / AU, "\n".join([f"frame, {BLINK}", *rows, ""]).encode())
    shutil.copyfile(source / PLAIN, folder / PLAIN)
    if recording.has_torsos:
        (folder / TORSOS).mkdir()
        hashes = []
        for name in map(torso_name, sorted(set(recording.ids))):
            data = (source / TORSOS / name).read_bytes()
            # Their heads were looked at; a copy that was cut short lacks the last of a PNG's blocks.
            if b"IEND" not in data:
                raise MarotteError(f"{source / TORSOS / name} is cut short: copy the prepared recording again")
            (folder / TORSOS / name).write_bytes(data)
            hashes.append(f"{sha256(data).hexdigest()}  {TORSOS}/{name}\n")
        write_whole(folder / HASHES, "".join(hashes).encode())
    sound = source / SOUND
    if sound.is_file() and sound.stat().st_size <= _MOST_SOUND:
        shutil.copyfile(sound, folder / SOUND)
    elif sound.is_file():
        size = sound.stat().st_size >> 20
        left.append(
            f"{sound} is not copied: it has {size} MB, at most {_MOST_SOUND >> 20} are; name it with --features"
        )
    return left


def check_torso_hashes(folder: Path) -> int:
    """Return how many torsos of a copied recording are as they were copied.

    Raises MarotteError where one has gone or is another.
    """
    path = folder / HASHES
    if not path.is_file():
        return 0
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            if sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise MarotteError(f"{folder / name} is not the picture that was imported: import the avatar again")
    except (OSError, UnicodeDecodeError) as error:
        raise MarotteError(f"cannot read {path} and its pictures: {getattr(error, 'strerror', error)}") from None
    return len(lines)
