"""Motion from the recordings of face trackers, through the camera core's readers: every format that holds a head."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.rotations import matrix_to_rotvec, rotvec_to_matrix
from marotte.runtime.cameras import read_cameras
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.motion import HEAD, Motion

# Below this the camera stands still: radians.
_STILL = 0.2 * np.pi / 180
# A camera that looks the head in the face: x right, y down, z away, of FLAME's x left (of the person), y up, z front.
_FACING = np.diag([1.0, -1.0, -1.0])


def read_track_motion(path: Path, fps: Fraction | None, assumed_fps: Fraction) -> tuple[Motion, dict[str, str]]:
    """Return a recording's motion and what is to be said of it.

    Where the tracker has put the head's motion into its camera, it becomes head rotation again, as a camera in front
    of the head would see it; where the head was in the picture is left out. fps: of the frames; assumed_fps: where
    neither it nor the file says. Raises MarotteError where the recording holds no head.
    """
    track = read_cameras(path)
    about = {"source": f"{track.format}, {len(track)} frames"}
    if track.head is None:
        raise MarotteError(f"{path} holds cameras ({track.format}) without FLAME parameters: there is no motion in it")
    if fps is not None and track.fps not in (None, fps):
        raise MarotteError(f"{path} says that its frame rate is {track.fps}, which {fps} cannot overrule")
    if fps is None and track.fps is None:
        about["assumed fps"] = str(assumed_fps)
    motion = track.motion(fps or track.fps or assumed_fps)
    turns = _turns(track)
    if np.abs(matrix_to_rotvec(turns @ turns[0].T)).max() < _STILL:
        return motion, about
    about["head rotation"] = "the camera's and the head's, together"
    codes = motion.codes.copy()
    codes[:, HEAD] = matrix_to_rotvec(_FACING @ turns @ rotvec_to_matrix(motion.head.astype(np.float64)))
    return replace(motion, codes=codes), about


def _turns(track: CameraTrack) -> np.ndarray:
    return np.stack([camera.R for camera in track.cameras])
