"""ARTalk: speech to FLAME motion, in chunks of four seconds (Chu et al. 2025).

`config` and `frames` need no library; the network needs torch and transformers, which `pip install
'marotte[artalk]'` brings and which are imported when the network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from marotte.errors import MarotteError
from marotte.models.artalk.config import ARTalkConfig, Wav2VecConfig
from marotte.models.artalk.frames import frame_count, streaming_frame_count

if TYPE_CHECKING:
    from marotte.models.artalk.network import ARTalk, ChunkState, Codes

__all__ = ["ARTalk", "ARTalkConfig", "ChunkState", "Codes", "Wav2VecConfig", "frame_count", "streaming_frame_count"]


def __getattr__(name: str) -> Any:
    if name not in ("ARTalk", "ChunkState", "Codes"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from marotte.models.artalk import network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MarotteError("ARTalk needs torch, which is not installed: pip install 'marotte[artalk]'") from None
    return getattr(network, name)
