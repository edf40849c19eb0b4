"""From what was played to what is measured: the take of each arm."""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from marotte.runtime.compare.faces import Asked, asked_tracks, at_times
from marotte.runtime.compare.film import Film
from marotte.runtime.compare.model import Take
from marotte.runtime.compare.pairs import PairMeter
from marotte.runtime.compare.play import DrawnPlayer, FilmPlayer, Player
from marotte.runtime.compare.stage import Rolled, Sound

IN_PICTURE = "mouth in the picture"
_NOT_KNOWN = "not known"


class Clock(NamedTuple):
    """The comparison's clock: how many frames, and their rate."""

    frames: int
    fps: Fraction


def make_take(player: Player, rolled: Rolled, clock: Clock, sound: Sound) -> Take:
    """Return the take of an arm that has been played."""
    drawn = player if isinstance(player, DrawnPlayer) else None
    asked = _asked(drawn, clock) if drawn else None
    # The lips of a network that hears for itself are not asked for anything by the motion.
    moved = drawn is not None and not drawn.hears
    tracks = drawn.tracks if drawn else None
    marks = drawn.landmarks if drawn else None
    nothing = np.full(clock.frames, np.nan)
    opening, opening_unit, opening_by = nothing, "", _NOT_KNOWN
    blink, blink_by, head, head_by, lips = nothing, _NOT_KNOWN, np.full((clock.frames, 3), np.nan), _NOT_KNOWN, None
    if drawn and tracks is not None:
        by = drawn.marked_by
        opening, opening_unit, opening_by = _filled(tracks.opening, player, clock), "mm", by
        blink, blink_by = _filled(tracks.blink, player, clock), by
        head, head_by = _filled(tracks.head, player, clock), by
        lips = _filled(tracks.lips, player, clock)
    elif player.name in rolled.watches:
        seen = rolled.watches[player.name].result()
        opening, opening_by = _filled(seen.opening, player, clock), IN_PICTURE
        if seen.why:
            opening_by = f"{_NOT_KNOWN}: {seen.why}"
    return Take(
        name=player.name,
        fps=clock.fps,
        asked=asked.opening if asked and moved else None,
        opening=opening,
        opening_unit=opening_unit,
        opening_by=opening_by,
        blink=blink,
        blink_by=blink_by,
        head=head,
        head_by=head_by,
        sound=_own_sound(player, rolled, sound),
        frame_ms=_filled(np.array(player.frame_ms), player, clock),
        asked_blink=None if asked is None else asked.blink,
        asked_head=None if asked is None else asked.head,
        landmarks=None if marks is None else _filled(marks, player, clock),
        lips=lips,
        motion=drawn.member.motion if drawn and moved else None,
        pairs=_measured(rolled.pairs.get(player.name)),
        references=_measured(rolled.references.get(player.name)),
    )


def _asked(player: DrawnPlayer, clock: Clock) -> Asked:
    member = player.member
    assert member.motion is not None
    found = asked_tracks(member.motion, member.avatar, member.options)
    opening, blink, head = (
        at_times(track, member.motion.fps, clock.fps, clock.frames)
        for track in (found.opening, found.blink, found.head)
    )
    return Asked(opening, blink, head, found.words)


def _filled(values: np.ndarray, player: Player, clock: Clock) -> np.ndarray:
    """Return a track [count, ...] of what was shown, NaN after the arm failed."""
    out = np.full((clock.frames, *values.shape[1:]), np.nan)
    known = min(len(values), player.taken)
    out[:known] = values[:known]
    return out


def _measured(meter: PairMeter | None) -> Mapping[str, np.ndarray]:
    return {} if meter is None else meter.tracks


def _own_sound(player: Player, rolled: Rolled, sound: Sound) -> np.ndarray:
    """Return what is heard in the arm's own film, decoded from it; as long as the comparison's sound."""
    path = rolled.films.get(player.name)
    if isinstance(player, FilmPlayer):
        heard = player.film.sound(player.start, float(sound.duration))
    else:
        heard = Film(path).sound() if path is not None else None
    out = np.zeros(len(sound.samples), np.float32)
    if heard is not None:
        out[: len(heard)] = heard[: len(out)]
    return out
