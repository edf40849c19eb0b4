"""What arms have in common and what they do not, in plain words: a difference in figures may come from any of the
latter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What an arm is, for comparison with others; empty where that is not known or there is none.

    motion: what names the motion, its driver and options or a file; model: what turns sound into lips (`FLAME-schema
    head`, `network that hears for itself`, `unknown`); conditions: idle life, expressiveness and the like, in words.
    """

    name: str
    avatar: str = ""
    identity: str = ""
    motion: str = ""
    basis: str = ""
    model: str = ""
    renderer: str = ""
    rasterizer: str = ""
    gaussians: str = ""
    camera: str = ""
    crop: str = ""
    background: str = ""
    conditions: str = ""
    licence: str = ""


_TOPICS = {
    "avatar": "avatar",
    "identity": "person",
    "motion": "motion",
    "model": "animation model",
    "basis": "expression basis",
    "renderer": "renderer",
    "rasterizer": "rasterizer",
    "gaussians": "number of Gaussians",
    "camera": "camera",
    "crop": "crop",
    "background": "background",
    "conditions": "setting of idle life and motion",
    "licence": "licence",
}


def shares(facts: Sequence[Facts], always: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return sentences on what is the `same` in all arms and how each other one `differs` from the first.

    always: what is the same anyway. An arm alone shares nothing.
    """
    if len(facts) < 2:
        return {"same": [], "differs": []}
    first, *others = facts
    alike: dict[tuple[str, ...], list[str]] = {}
    for topic, title in _TOPICS.items():
        known = [getattr(each, topic) for each in facts if getattr(each, topic)]
        if len(known) > 1 and len(set(known)) == 1:
            unknown = tuple(each.name for each in facts if not getattr(each, topic))
            alike.setdefault(unknown, []).append(f"{title} ({known[0]})")
    same = [
        f"All{f' but {listed(unknown)}, of which it is not known,' if unknown else ''} have the same {listed(parts)}."
        for unknown, parts in sorted(alike.items(), key=lambda each: len(each[0]))
    ]
    return {"same": [*always, *same], "differs": [_apart(other, first) for other in others]}


def listed(words: Iterable[str], last_by: str = "and") -> str:
    """Return words in a row, as a sentence has them; nothing for none."""
    *before, last = [*words] or [""]
    return f"{', '.join(before)} {last_by} {last}" if before else last


def _apart(other: Facts, first: Facts) -> str:
    """Return the sentence on what an arm does not share with the first."""
    pairs = {title: (getattr(other, topic), getattr(first, topic)) for topic, title in _TOPICS.items()}
    parts = [f"{title} ({own} instead of {its})" for title, (own, its) in pairs.items() if own and its and own != its]
    lacking = [title for title, (own, its) in pairs.items() if bool(own) != bool(its)]
    unknown = f" Whether they share {listed(lacking, 'or')} is not known." if lacking else ""
    if parts:
        return f"{other.name} differs from {first.name} in {listed(parts)}.{unknown}"
    if unknown:
        return f"{other.name} and {first.name}:{unknown}"
    return f"{other.name} is what {first.name} is in all of this."
