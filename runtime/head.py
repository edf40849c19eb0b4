"""HeadState: the FLAME parameters of a batch of frames, as a renderer gets them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadState:
    """FLAME parameters of T frames, float32. Rotations are rotation vectors in radians.

    shape: [S] identity coefficients, the same in all frames; [0] where the avatar has them baked in.
    expression: [T, E] coefficients in the avatar's basis.
    root, neck, jaw: [T, 3]; root turns the whole head about FLAME's joint 0.
    eyes: [T, 6], left eye then right.
    eyelids: [T, 2], left then right, 0 open to 1 shut.
    translation: [T, 3] in FLAME units (metres), applied last.
    """

    shape: np.ndarray
    expression: np.ndarray
    root: np.ndarray
    neck: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    eyelids: np.ndarray
    translation: np.ndarray

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def full_pose(self) -> np.ndarray:
        """[T, 15] root, neck, jaw, left eye, right eye: FLAME's joint order."""
        return np.concatenate([self.root, self.neck, self.jaw, self.eyes], axis=1)
