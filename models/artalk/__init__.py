"""ARTalk: speech to FLAME motion, in chunks of four seconds (Chu et al. 2025).

`config` and `frames` need no library; the network needs torch and transformers, which `pip install
'marotte[artalk]'` brings and which are imported when the network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from marotte.models.artalk.config import ARTalkConfig, Wav2VecConfig
from marotte.models.artalk.frames import frame_count, streaming_frame_count
from marotte.models.lazy import lazy_name

if TYPE_CHECKING:
    from marotte.models.artalk.network import ARTalk, ChunkState, Codes

__all__ = ["ARTalk", "ARTalkConfig", "ChunkState", "Codes", "Wav2VecConfig", "frame_count", "streaming_frame_count"]
_MODULES = dict.fromkeys(("ARTalk", "ChunkState", "Codes"), "network")


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _MODULES, name, "ARTalk", "artalk")
