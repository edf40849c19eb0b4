"""A talking face, as if it had been drawn and measured: the demo's lips, lids and head on the demo's speech."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.models.flame import FlameModel
from marotte.runtime.avatar import load_avatar
from marotte.runtime.compare.faces import asked_tracks, at_times
from marotte.runtime.compare.model import Take
from marotte.runtime.idle import Idle
from marotte.runtime.offline import drive

HEADS: dict[tuple, FlameModel] = {}
SPEECH = Path(__file__).resolve().parents[3] / "demos" / "speech.wav"
FPS = Fraction(25)


@pytest.fixture(scope="module", autouse=True)
def _heads_are_read_once():
    """Head models from their files, which a comparison reads for each arm, and often: nothing here changes them."""
    read = FlameModel.load

    def load(path, **options):
        about = Path(path).stat()
        key = str(path), about.st_mtime_ns, about.st_size, repr(options)
        if key not in HEADS:
            HEADS[key] = read(path, **options)
        return HEADS[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlameModel, "load", load)
        yield


@pytest.fixture(scope="session")
def talking() -> Take:
    """Twelve seconds at 25 frames a second, 256 pixels wide; equal to itself in pictures."""
    import soundfile

    sound, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == 16000
    sound = sound[: 12 * 16000]
    motion = drive(SPEECH, driver="viseme", duration=12.0)
    idle = Idle()
    idle.hear(sound)
    avatar, frames = load_avatar("demo"), 300
    asked, alive = asked_tracks(motion, avatar), asked_tracks(idle.apply(motion), avatar)

    def at(track: np.ndarray) -> np.ndarray:
        return at_times(track, motion.fps, FPS, frames)

    rng = np.random.default_rng(0)
    opening, head = at(alive.opening), at(alive.head)
    lips = np.tile(rng.normal(0, 10, (20, 3)), (frames, 1, 1))
    lips[:, 10:, 1] -= opening[:, None]
    landmarks = np.tile(rng.uniform(60, 180, (68, 2)), (frames, 1, 1)) + head[:, None, 1::-1]
    landmarks[:, 55:60, 1] += opening[:, None]
    landmarks[:, 36], landmarks[:, 45] = (90.0, 110.0) + head[:, 1::-1], (150.0, 110.0) + head[:, 1::-1]
    same = {"psnr": 100.0, "ssim": 1.0, "difference": 0.0}
    return Take(
        name="first",
        fps=FPS,
        asked=at(asked.opening),
        opening=opening,
        opening_unit="mm",
        opening_by="vertices",
        blink=at(alive.blink),
        blink_by="vertices",
        head=head,
        head_by="vertices",
        sound=sound,
        frame_ms=12 + rng.normal(0, 0.6, frames),
        asked_blink=at(asked.blink),
        asked_head=at(asked.head),
        landmarks=landmarks,
        lips=lips,
        motion=motion,
        pairs={key: np.full(frames, value) for key, value in same.items()},
        references={key: value + rng.normal(0, 0.5, frames) for key, value in (("psnr", 28.0), ("ssim", 0.9))},
    )
