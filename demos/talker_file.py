"""The demo talker's folder: one file of the network, its Gaussians and its track, and avatar.toml."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from talker_teacher import AVATAR, VARIANT, Teacher
from talker_torch import canonical_of
from talker_track import SIDE, Track

from marotte.models.gaussian_talker import GaussianTalker
from marotte.models.plain_files import write_whole, written_whole
from marotte.runtime.avatar import Avatar
from marotte.runtime.avatars.talker_expand import FORMAT, GAUSSIANS, NETWORK, TORSO, TRACK
from marotte.runtime.avatars.toml import FILE, avatar_text, file_hashes
from marotte.runtime.cameras.formats.gaussian_talker import UNIT
from marotte.runtime.recording import FPS
from marotte.runtime.talker_features import PHONES

NAME, WEIGHTS, README = "demo-talker", "talker.safetensors", "README.md"
# Parts of the network that nothing uses, or that this head does without: zeros.
_IDLE = (
    *(f"tri_plane.{name}" for name in ("feature_out", "scales", "rotations", "opacity", "shs")),
    *("aud_ch_att_net", "eye_att_net", "enc_x_mlp", "scales_deform", "opacity_deform", "shs_deform"),
)
# At 16 bits these would show: a thousandth of a unit is a sixth of a pixel.
_PRECISE = (GAUSSIANS + "xyz", TRACK)


def write_talker(folder: Path, network: GaussianTalker, teacher: Teacher, track: Track, about: dict[str, str]) -> None:
    """Write `talker.safetensors` and `avatar.toml` into a folder. about: what else the file is to say of its making."""
    canonical = canonical_of(teacher)
    euler, trans = track.poses()
    idle = tuple(f"deformation_net.{name}." for name in _IDLE)
    arrays = {
        NETWORK + name: value.numpy() * (not name.startswith(idle)) for name, value in network.state_dict().items()
    }
    arrays |= {
        GAUSSIANS + name: getattr(canonical, name).numpy()
        for name in ("xyz", "log_scales", "quats_wxyz", "opacity_logits")
    }
    arrays |= {GAUSSIANS + "colours": canonical.sh[:, 0].numpy()}
    arrays |= {TRACK + "euler": euler, TRACK + "trans": trans, TRACK + "au45": track.au45}
    stored = {
        name: np.ascontiguousarray(array, np.float32 if name.startswith(_PRECISE) else np.float16)
        for name, array in arrays.items()
    }
    stored[TORSO] = teacher.torso.astype(np.uint16)
    notes = {
        "format": FORMAT,
        "teacher": AVATAR,
        "variant": VARIANT,
        "side": str(SIDE),
        "focal": repr(float(track.cameras[0].K[0, 0])),
        "background": teacher.avatar.background,
        **about,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / WEIGHTS) as part:
        save_file(stored, part, notes)
        part.chmod(0o644)  # the library makes it its owner's alone
    describe(folder, teacher.avatar)


def describe(folder: Path, teacher: Avatar) -> None:
    """Write avatar.toml for what lies in the folder."""
    avatar = Avatar(
        name=NAME,
        path=folder,
        renderer="gaussian-talker",
        basis="none",
        network=WEIGHTS,
        features=PHONES,
        title="Marotte's demo head, as a GaussianTalker",
        expressions=0,
        unit=UNIT,
        head_rotation="root",
        size=(SIDE, SIDE),
        fps=Fraction(FPS),
        background="own",
        licence="CC0-1.0",
        subject=teacher.subject,
        consent=teacher.consent,
        origin="trained by demos/train_demo_talker.py on the avatar demo",
        files={WEIGHTS: file_hashes(folder)[WEIGHTS]},
    )
    write_whole(folder / FILE, avatar_text(avatar).encode())
