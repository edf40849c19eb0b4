"""Compare arms: the same sound and clock, one motion where they share a driver, one camera where it can be, one report.

What a comparison is made of has its own file each: `cast` opens the arms, `views` decides on cameras, `stage` plays
them, `figures` measures, `cost` times, `report` shows.
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import marotte
from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.runtime.audio.resample import mono_blocks
from marotte.runtime.audio.source import open_audio
from marotte.runtime.avatar import load_avatar
from marotte.runtime.avatars.store import staged
from marotte.runtime.clock import as_fps, frame_count
from marotte.runtime.compare import results as results_of
from marotte.runtime.compare.arms import MOST_SEED, check_arms
from marotte.runtime.compare.cast import Member, open_member, with_motions
from marotte.runtime.compare.costs import add_cost
from marotte.runtime.compare.figures import figures, tracks
from marotte.runtime.compare.film import Film
from marotte.runtime.compare.grid import Grid
from marotte.runtime.compare.laying import head_of, lay, lay_reference, read_marks
from marotte.runtime.compare.lip_figures import full_opening
from marotte.runtime.compare.model import FAMILIES, Arm
from marotte.runtime.compare.moments import heatmaps, moments
from marotte.runtime.compare.play import DrawnPlayer, FilmPlayer, Player
from marotte.runtime.compare.report import REPORT, write_report
from marotte.runtime.compare.results import FORMAT, Shown
from marotte.runtime.compare.shares import shares
from marotte.runtime.compare.spoken import Speech, hear
from marotte.runtime.compare.stage import Reference, Rolled, Sound, Stage
from marotte.runtime.compare.summary import summarise
from marotte.runtime.compare.takes import Clock, make_take
from marotte.runtime.compare.views import View
from marotte.runtime.compiled import prepare
from marotte.runtime.contracts import SAMPLE_RATE, Renderer
from marotte.runtime.motion_head import MeasuredHead
from marotte.runtime.offline import Progress, Slow
from marotte.runtime.session import DEFAULT_FPS
from marotte.runtime.video.provenance import Provenance

RESULTS = "results.json"


@dataclass(frozen=True)
class Report:
    """What `compare` made. page: its report.html; summary: its sentences; notes: what a user should know besides."""

    page: Path
    summary: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    fps: Fraction
    wall_seconds: float


def compare(
    audio: str | Path,
    out: str | Path,
    arms: Sequence[Arm],
    *,
    reference: str | Path | None = None,
    reference_landmarks: str | Path | None = None,
    text: str | Path | None = None,
    fps: int | float | str | Fraction | None = None,
    size: int | str | None = None,
    start: float = 0.0,
    duration: float | None = None,
    title: str = "",
    seed: int = 0,
    lpips: bool = False,
    cost: bool = True,
    replace: bool = False,
    progress: Progress | None = None,
    slow: Slow | None = None,
) -> Report:
    """Compare arms that say `audio`, and write the folder `out`: report.html, results.json, grid.mp4, arms/.

    arms: the first is what the others are compared with. reference: a film that all are measured by;
    reference_landmarks: an .npy of the 68 landmarks [frames, 68, 2] in its pixels. text: what is
    said, in English, or a file with it. fps: of all arms, 25 unless one has a rate of its own. size: of pictures whose
    arms can have any. start, duration: seconds of the sound (and of films) to use. seed: of idle life and of the
    intervals. cost: measure that too. replace: an older comparison in `out`.

    Returns a `Report`; `out` appears only when it is whole. Raises MarotteError for what the user can mend.
    """
    began = time.perf_counter()
    prepare()
    check_arms(arms)
    if not 0 <= seed <= MOST_SEED:
        raise MarotteError(f"seed {seed} is not a whole number from 0 to {MOST_SEED}")
    folder = _place(Path(out), replace)
    sound = _read_sound(Path(audio), start, duration)
    said = _read_text(text)
    speech = hear(sound.samples, said)
    films = {arm.name: Film(arm.video) for arm in arms if arm.video}
    truth = Film(reference) if reference is not None else None
    if reference_landmarks is not None and truth is None:
        raise MarotteError(f"{reference_landmarks} holds a reference's landmarks: give --reference too")
    marks = None if reference_landmarks is None else read_marks(reference_landmarks)
    renderers: dict[str, Renderer] = {}
    opened = {
        arm.name: open_member(arm, None if size is None else str(size), seed, renderers)
        for arm in arms
        if not arm.video
    }
    rate = as_fps(fps) if fps is not None else _rate(list(opened.values()))
    count = frame_count(sound.duration, rate)
    views, laid = lay(arms, opened, films, start)
    members = {
        member.name: member for member in with_motions(list(opened.values()), sound.path, start, sound.piece, slow)
    }
    with ExitStack() as stack:
        players: list[Player] = []
        for arm, how in zip(arms, laid, strict=True):
            player = (
                FilmPlayer(arm.name, films[arm.name], rate, start, count)
                if arm.video
                else DrawnPlayer(members[arm.name], views[arm.name], rate)
            )
            player.similarity = how
            stack.enter_context(closing(player))
            players.append(player)
        with slow("preparing the renderers") if slow else nullcontext():
            for renderer in renderers.values():
                renderer.warm_up()
        common = players[0].size
        grid = Grid([arm.name for arm in arms], [results_of.words_of(player) for player in players], common)
        measured_by = lay_reference(truth, marks, rate, count, common, sound, lambda: head_of(players[0], start))
        with staged(folder) as stage:
            told = Stage(
                players,
                grid,
                common,
                sound,
                rate,
                stage,
                _provenance(players),
                watched=[player.name for player in players if _is_watched(player)],
                reference=measured_by,
                lpips=lpips,
            ).roll(count, progress)
            found = _measured(
                players, told, grid, Clock(count, rate), sound, said, speech, views, seed, measured_by, stage
            )
            if cost:
                stack.close()  # what the arms hold is free before they are timed
                add_cost(found, players, sound, rate, None if size is None else str(size), seed)
            found["title"] = title or f"{', '.join(arm.name for arm in arms)}: {sound.path.name}"
            found["summary"] = summarise(found)
            write_whole(stage / RESULTS, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
            write_report(stage, found)
    return Report(
        page=folder / REPORT,
        summary=tuple(found["summary"]),
        notes=tuple(found["notes"]),
        seconds=float(sound.duration),
        fps=rate,
        wall_seconds=time.perf_counter() - began,
    )


def _measured(
    players: Sequence[Player],
    rolled: Rolled,
    grid: Grid,
    clock: Clock,
    sound: Sound,
    text: str,
    speech: Speech,
    views: dict[str, View],
    seed: int,
    reference: Reference | None,
    folder: Path,
) -> dict[str, Any]:
    """Return the results without cost and summary; stills and maps go into the folder."""
    takes = [make_take(player, rolled, clock, sound) for player in players]
    drawn = [player.member for player in players if isinstance(player, DrawnPlayer)]
    found = figures(
        takes,
        speech,
        text=text,
        full=_full_openings(drawn),
        heads=_heads(drawn),
        reference_landmarks=None if reference is None else reference.landmarks,
        seed=seed,
    )
    notes = list(found.notes)
    shown = {player.name: _shown(player, views) for player in players}
    films = {name: None if path is None else f"arms/{path.name}" for name, path in rolled.films.items()}
    same = [f"All say the same sound, on one clock of {float(clock.fps):g} frames a second."]
    entries = [
        results_of.arm_entry(player, take, shown[player.name], films[player.name], clock.frames)
        for player, take in zip(players, takes, strict=True)
    ]
    for player in players:
        if isinstance(player, FilmPlayer) and (note := player.film.length_note(float(sound.duration), sound.start)):
            notes.append(f"{player.name}: {note}")
    for entry in entries:
        notes += [f"{entry['name']}: {note}" for note in entry["notes"]]
        if entry["failed"]:
            notes.append(f"{entry['name']} ended after {entry['failed']['at']:.2f} s: {entry['failed']['why']}")
    return {
        "format": FORMAT,
        "generator": f"marotte {marotte.__version__}",
        "audio": {"file": sound.path.name, "seconds": float(sound.duration), "start": sound.start},
        "fps": float(clock.fps),
        "frames": clock.frames,
        "size": list(players[0].size),
        "baseline": players[0].name,
        "reference": None if reference is None else {"file": reference.path.name, "words": reference.words},
        "arms": entries,
        "shares": shares([results_of.facts(player, shown[player.name]) for player in players], same),
        "phones": found.speech.words,
        "figures": results_of.figures_of(found.definitions),
        "families": dict(FAMILIES),
        "values": results_of.values_of(found.values),
        "differences": results_of.values_of(found.differences, differences=True),
        "tracks": tracks(takes, found.speech),
        "moments": moments(takes, rolled, grid, found.speech, folder),
        "heatmaps": heatmaps(rolled, players[0].name, folder),
        "grid": results_of.grid_entry(grid),
        "cost": None,
        "notes": notes,
    }


def _full_openings(members: Sequence[Member]) -> dict[str, float]:
    """Return how far each arm's own head opens its mouth at most, in mm, by the arm's name."""
    avatars = {member.arm.avatar: member.avatar for member in members if member.avatar.head}
    found = {name: full_opening(avatar) for name, avatar in avatars.items()}
    return {member.name: found[member.arm.avatar] for member in members if member.arm.avatar in found}


def _heads(members: Sequence[Member]) -> dict[str, MeasuredHead]:
    """Return a head to measure motions on for each basis: the first arm's that has one, else the demo's."""
    heads: dict[str, MeasuredHead] = {}
    for member in members:
        if member.avatar.head and member.avatar.basis not in heads:
            heads[member.avatar.basis] = MeasuredHead.load(member.arm.avatar)
    if load_avatar("demo").basis not in heads:
        demo = MeasuredHead.load("demo")
        heads = {demo.basis: demo, **heads}
    return heads


def _place(out: Path, replace: bool) -> Path:
    """Return the folder to make. Raises MarotteError where something is there that is not to be replaced."""
    folder = Path(os.path.abspath(out))
    if not folder.parent.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {folder.parent}")
    if folder.is_file():
        raise MarotteError(f"cannot write {out}: it is a file; give the name of a folder")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / RESULTS).is_file():
            raise MarotteError(f"{out} is there and is no comparison, so it is not replaced: give another --out")
        if not replace:
            raise MarotteError(f"there is a comparison in {out}: give another --out, or --replace")
    return folder


def _read_sound(path: Path, start: float, duration: float | None) -> Sound:
    with open_audio(path, start=start, duration=duration) as source:
        samples = np.concatenate([np.zeros(0, np.float32), *mono_blocks(source, SAMPLE_RATE, SAMPLE_RATE)])
        assert source.frames is not None  # it is read to its end
        seconds = Fraction(source.frames, source.rate)
    if not seconds:
        raise MarotteError(f"{path} holds no sound from {start:g} s on: give an earlier --start")
    return Sound(path, samples, seconds, start, duration)


def _read_text(text: str | Path | None) -> str:
    """Return what is said, of a text or of the file that has it."""
    if text is None:
        return ""
    try:
        said = Path(text).read_text(encoding="utf-8") if os.path.isfile(text) else str(text)
    except (OSError, UnicodeDecodeError) as error:
        raise MarotteError(f"the text {text} cannot be read ({error})") from error
    if said == str(text) and len(said.split()) == 1 and Path(said).suffix:
        raise MarotteError(f"there is no file {text} with what is said: check its path")
    if not said.strip():
        raise MarotteError("the text of what is said is empty: leave it out to have the phones heard")
    return said


def _rate(members: Sequence[Member]) -> Fraction:
    """Return the rate of all: that of the first arm with a rate of its own."""
    own = (member.stream.fps or member.avatar.fps for member in members)
    return next((rate for rate in own if rate), DEFAULT_FPS)


def _is_watched(player: Player) -> bool:
    return not isinstance(player, DrawnPlayer) or not player.knows_landmarks


def _shown(player: Player, views: dict[str, View]) -> Shown:
    how = player.similarity
    view = views.get(player.name)
    alignment = {"scale": how.scale, "x": how.x, "y": how.y, "applied": how.applied, "words": how.words}
    return Shown(view.rule if view else "film", view.words if view else "the film's own", results_of.plain(alignment))


def _provenance(players: Sequence[Player]) -> dict[str, Provenance]:
    generator = f"marotte {marotte.__version__}"
    marks = {"": Provenance(generator, avatar=", ".join(player.name for player in players))}
    for player in players:
        if isinstance(player, DrawnPlayer):
            member = player.member
            marks[player.name] = Provenance(
                generator,
                avatar=member.avatar.name,
                avatar_sha256=member.avatar.sha256,
                driver=member.driver_name,
                motion_basis=member.driver.basis,
                approximations=player.approximations,
            )
    return marks
