"""What arms cost, as figures of the comparison: CPU time of a frame with its interval, and what else was measured."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from marotte.runtime.compare.blocks import sampled
from marotte.runtime.compare.cost import ArmCost, make_spec, measure_cost
from marotte.runtime.compare.model import Definition, Value
from marotte.runtime.compare.play import DrawnPlayer, Player
from marotte.runtime.compare.results import figures_of, values_of
from marotte.runtime.compare.stage import Sound

_TURNS = "single frames at one thread, each arm in a process of its own, all in turns"
_OWN = "Marotte"
_ROWS = (
    (
        "cost_mean",
        "CPU time of a frame",
        "ms",
        "less",
        "mean CPU time of a frame, driver included, encoder not.",
        _TURNS,
    ),
    ("cost_p50", "CPU time of a frame, median", "ms", "less", "half of the frames take no more.", _TURNS),
    ("cost_p95", "CPU time of a frame, p95", "ms", "less", "95 % of the frames take no more.", _TURNS),
    ("cost_p99", "CPU time of a frame, p99", "ms", "less", "99 % of the frames take no more.", _TURNS),
    (
        "cost_single",
        "Frames a second, one by one",
        "1/s",
        "more",
        "frames fed one at a time, at all threads.",
        "wall clock, around all of them",
    ),
    (
        "cost_batched",
        "Frames a second, in batches",
        "1/s",
        "more",
        "frames in the batches that the renderer likes, at all threads.",
        "wall clock, around all of them",
    ),
    (
        "cost_memory",
        "Peak memory",
        "MiB",
        "less",
        "the most that the arm's process held at a time.",
        "the system's count",
    ),
    (
        "cost_start",
        "Start-up",
        "s",
        "less",
        "from the start of the arm's process to its first picture, caches warm.",
        "wall clock",
    ),
)
DEFINITIONS = tuple(
    Definition(key, title, "cost", unit, better, words, instrument, _OWN)
    for key, title, unit, better, words, instrument in _ROWS
)
_QUANTILES = {"cost_mean": None, "cost_p50": 0.5, "cost_p95": 0.95, "cost_p99": 0.99}


def add_cost(
    found: dict[str, Any], players: Sequence[Player], sound: Sound, fps: Fraction, size: str | None, seed: int
) -> None:
    """Measure the drawn arms that did not fail, and add it to a comparison's results."""
    drawn = [player for player in players if isinstance(player, DrawnPlayer) and not player.failed]
    if not drawn:
        return
    specs = {
        player.name: make_spec(
            player.member.arm,
            sound.path.absolute(),
            fps=fps,
            camera=player.view.camera,
            size=size,
            seed=seed,
            start=sound.start,
            duration=sound.piece,
        )
        for player in drawn
    }
    cost = measure_cost(specs)
    values, differences = figures_of_cost(dict(cost.arms), found["baseline"], seed)
    found["figures"] += figures_of(DEFINITIONS)
    for name, of_arm in values_of(values).items():
        found["values"][name].update(of_arm)
    for name, of_arm in values_of(differences, differences=True).items():
        found["differences"][name].update(of_arm)
    found["cost"] = cost.content()
    found["notes"] += [f"{name}: its cost is not known: {arm.failed}" for name, arm in cost.arms.items() if arm.failed]


Values = dict[str, dict[str, Value]]


def figures_of_cost(arms: Mapping[str, ArmCost], baseline: str, seed: int = 0) -> tuple[Values, Values]:
    """Return values by arm and key, and differences from the first arm where its cost is known."""
    values: Values = {name: {} for name in arms}
    differences: Values = {name: {} for name in arms if name != baseline and baseline in arms}
    for key, quantile in _QUANTILES.items():
        found, apart = sampled({name: arm.turns for name, arm in arms.items()}, quantile=quantile, seed=seed)
        for name, value in found.items():
            values[name][key] = value
        for name in differences:
            differences[name][key] = apart[name]
    for name, arm in arms.items():
        plain = {
            "cost_single": arm.single,
            "cost_batched": arm.batched,
            "cost_memory": None if arm.memory is None else arm.memory / 2**20,
            "cost_start": sum(arm.start_up.values()) or None,
        }
        for key, number in plain.items():
            note = "" if number is not None else arm.failed or "it could not be measured here"
            values[name][key] = Value(number, note=note)
    return values, differences
