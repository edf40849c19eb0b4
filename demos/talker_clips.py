"""Speech as the demo talker hears it, and what the viseme driver makes of it for the teacher."""

from dataclasses import dataclass

import numpy as np

from marotte.drivers.viseme import Viseme
from marotte.drivers.viseme_features import VisemeFeatures
from marotte.runtime.motion import EXPRESSION, JAW, concatenate


@dataclass(frozen=True)
class Clip:
    """Some seconds at 50 rows a second: logits [R, 29] of phones, and the teacher's actions [R, 103] with the jaw
    rotation in the last three.
    """

    logits: np.ndarray
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.logits)


def hear(sounds: list[np.ndarray]) -> list[Clip]:
    """Return what the phone logits and the driver make of sounds [n] float32 at 16 kHz, each on its own."""
    features, driver = VisemeFeatures(), Viseme()
    clips = []
    for sound in sounds:
        listener, mover = features.open(), driver.open()
        logits = np.concatenate([listener.feed(sound), listener.finish()])
        motion = concatenate([mover.feed(sound), mover.finish()])
        actions = np.concatenate([motion.codes[:, EXPRESSION], motion.codes[:, JAW]], axis=1)
        rows = min(len(logits), len(actions))
        clips.append(Clip(logits[:rows], actions[:rows]))
    return clips
