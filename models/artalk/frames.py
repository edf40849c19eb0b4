"""How many frames of motion a number of samples gives, as published, without torch.

Both counts round in double arithmetic, which for some exact multiples of 640 samples lands just above the integer
and gives one frame more (4480 samples: 8, not 7). It is a quirk of the published code and kept for parity.
"""

import math

RATE = 16000
FPS = 25.0
# One frame's worth of samples.
HOP = 640


def frame_count(samples: int) -> int:
    """Return the frames of a recording of so many samples at 16 kHz, given at once; also of a stream's last piece."""
    return math.ceil(samples / RATE * FPS)


def streaming_frame_count(samples: int, chunk_frames: int = 100) -> int:
    """Return the frames that the published streaming form gives in all: whole chunks, then the rest counted by itself.

    It can differ by one from `frame_count`, since only the rest is rounded.
    """
    chunks, rest = divmod(samples, chunk_frames * HOP)
    return chunks * chunk_frames + frame_count(rest)
