"""What every import is given, gives back, and says where nothing was said."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from marotte.runtime.avatar import Avatar
from marotte.runtime.imavatar import UNIT

NOT_RECORDED = "not recorded"
CANONICAL = "canonical"
FLAME_TERMS = "head.npz holds data of FLAME (flame.is.tue.mpg.de), whose licence forbids to pass it on"
# Called with the staged avatar before it is given its name.
Look = Callable[[Avatar], None]


@dataclass(frozen=True)
class Given:
    """What the user says beside the path; what is not given is looked for.

    identity: a file or folder, or `canonical` to take it from the canonical mesh; basis: FLAME's version where the
    model file's name does not say it; unit: world units per FLAME unit; entry: the name of a tracked picture or frame;
    mask: a picture that is white where the person is; network: the checkpoint, in place of the asset; features: the
    space of audio features that it was trained on; frames: which of the recording, `val`, `train` or `all`; ask: puts
    a question to a person at the terminal and returns the answer or None.
    """

    name: str | None = None
    title: str | None = None
    flame: Path | None = None
    landmarks: Sequence[Path] = ()
    masks: Path | None = None
    eyelids: Sequence[Path] = ()
    data: Path | None = None
    identity: str | None = None
    configs: Sequence[Path] = ()
    basis: str | None = None
    unit: float = UNIT
    entry: str | None = None
    mask: Path | None = None
    network: Path | None = None
    features: str | None = None
    frames: str | None = None
    subject: str | None = None
    consent: str | None = None
    licence: str | None = None
    replace: bool = False
    ask: Callable[[str], str | None] = lambda question: None

    def about(self, avatar: Avatar, *terms: str) -> Avatar:
        """Return an avatar with subject, consent and licence, asked for where they were not said.

        terms: what the licence says in any case.
        """
        return dataclasses.replace(
            avatar,
            subject=self.subject or self.ask("whom does it show (subject)") or NOT_RECORDED,
            consent=self.consent or self.ask("what did that person consent to, and where is that kept") or NOT_RECORDED,
            licence="; ".join([self.licence or f"licence {NOT_RECORDED}", *terms]),
        )


@dataclass(frozen=True, eq=False)
class Imported:
    """What was imported. avatar: as it lies in the store; facts: (name, text) for people; notes: what to know."""

    avatar: Avatar
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
