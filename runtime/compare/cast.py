"""The cast: every arm opened, with the motion that it shows, before anything is drawn."""

import json
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import Background, read_background
from marotte.runtime.bridge import MotionOptions
from marotte.runtime.camera import Camera
from marotte.runtime.compare.model import Arm
from marotte.runtime.contracts import SAMPLE_RATE, Driver, Renderer, RenderOptions, RenderStream
from marotte.runtime.idle import IdleOptions
from marotte.runtime.motion import Motion
from marotte.runtime.offline import DEFAULT_DRIVER, Slow, drive, parse_size
from marotte.runtime.registry import create
from marotte.runtime.session import DEFAULT_FRAMING, Session, SessionOptions, open_bridge


@dataclass(frozen=True, eq=False)
class Member:
    """A drawn arm, opened. driver: plays `motion`, which driver_name made; stream: shows what the renderer is like;
    options: of its sessions, their camera still the framing's."""

    arm: Arm
    avatar: Avatar
    renderer: Renderer
    renderer_name: str
    driver: Driver
    driver_name: str
    options: SessionOptions
    stream: RenderStream
    motion: Motion | None = None

    @property
    def name(self) -> str:
        """The arm's."""
        return self.arm.name

    @property
    def camera(self) -> Camera:
        """The camera that it has by itself: its own, or its framing's."""
        stream = self.stream
        return stream.camera or self.avatar.framing(self.options.framing).camera(stream.width, stream.height)

    @property
    def colour(self) -> tuple[int, int, int]:
        """RGB of what stands behind the head, 0 to 255."""
        red, green, blue = (round(255 * value) for value in self.options.background.colour)
        return red, green, blue

    def playing(self, motion: Motion) -> "Member":
        """Return it with a motion to show."""
        return replace(self, driver=create("driver", "playback", motion=motion), motion=motion)

    def session(self, camera: Camera | None, fps: Fraction, **told: Any) -> Session:
        """Return a session that plays its motion; camera: in place of its own. told: as `Session` takes it."""
        options = replace(self.options, fps=fps, camera=camera)
        if camera is not None:
            options = replace(options, width=camera.width, height=camera.height, background=self._behind(camera))
        return Session(self.driver, self.renderer, self.avatar, options, **told)

    def at_rest(self, camera: Camera | None) -> np.ndarray:
        """Return a picture [H, W, 3] uint8 of the neutral head, in silence where its network hears for itself."""
        with closing(self.session(camera, Fraction(1))) as session:
            return next(iter([*session.feed(np.zeros(SAMPLE_RATE, np.float32)), *session.finish()])).pixels[0]

    def _behind(self, camera: Camera) -> Background:
        if self.options.background.image is None:
            return self.options.background
        return read_background(self.arm.render["background"], camera.width, camera.height)


def open_member(arm: Arm, size: str | None, seed: int, renderers: dict[str, Renderer]) -> Member:
    """Return an arm opened; renderers: those that are there, by name, shared among arms.

    Raises MarotteError that names the arm.
    """
    try:
        return _open(arm, size, seed, renderers)
    except MarotteError as error:
        raise MarotteError(f"the arm {arm.name}: {error}") from error


def _open(arm: Arm, size: str | None, seed: int, renderers: dict[str, Renderer]) -> Member:
    render = dict(arm.render)
    avatar = load_avatar(arm.avatar)
    width, height = parse_size(avatar.size if size is None else size)
    behind = read_background(render.pop("background", None) or avatar.background, width, height)
    if behind.transparent:
        raise MarotteError("pictures that are compared cannot be transparent: give it a background")
    name = arm.renderer or avatar.renderer
    renderer = renderers.get(name) or create("renderer", name)
    renderers[name] = renderer
    if arm.motion:
        basis, fps = render.pop("motion_basis", None), render.pop("motion_fps", None)
        driver, driver_name = create("driver", "playback", motion=arm.motion, basis=basis, fps=fps), "playback"
    else:
        driver_name = arm.driver or DEFAULT_DRIVER
        driver = create("driver", driver_name)
    chosen = ("variant", "rasterizer", "device")
    extra: dict[str, Any] = {key: render.pop(key) for key in chosen if key in render}
    extra.update(arm.renderer_options)
    options = SessionOptions(
        width=width,
        height=height,
        background=behind,
        framing=render.pop("framing", DEFAULT_FRAMING),
        motion=MotionOptions(
            render.pop("jaw", "full"),
            render.pop("head_motion", 1.0),
            render.pop("expressiveness", 1.0),
            render.pop("fix_pose", False),
        ),
        smooth=render.pop("smooth", False) and not driver.smooths,
        idle=IdleOptions(render.pop("idle", 1.0), render.pop("seed", seed)),
        basis_approx=render.pop("basis_approx", None),
        head_rotation=render.pop("head_rotation", None),
        flame=render.pop("flame", None),
        renderer=extra,
    )
    if render:
        raise MarotteError(f"{next(iter(render))} says what a motion's file does not: give motion too, or leave it out")
    driver.open(arm.driver_options).close()  # sees that it knows its options
    stream = renderer.open(avatar, RenderOptions(width, height, extra=extra))
    member = Member(arm, avatar, renderer, name, driver, driver_name, options, stream)
    open_bridge(avatar, member.camera, driver.basis, options).check(driver.basis)
    if stream.camera is not None and options.framing != DEFAULT_FRAMING:
        raise MarotteError(f"{name} draws {avatar.name} with a camera of its own: leave out framing={options.framing}")
    return member


def with_motions(
    members: Sequence[Member], audio: Path, start: float, duration: float | None, slow: Slow | None
) -> list[Member]:
    """Return the members with their motions: what several arms drive alike is driven once."""
    driven: dict[str, Motion] = {}
    out = []
    for member in members:
        if member.arm.motion:
            played = getattr(member.driver, "motion", None)
            assert isinstance(played, Motion)
            out.append(replace(member, motion=played))
            continue
        kind = json.dumps([member.driver_name, dict(member.arm.driver_options)], sort_keys=True)
        if kind not in driven:
            with slow(f"preparing the driver {member.driver_name}") if slow else nullcontext():
                member.driver.warm_up()
            try:
                driven[kind] = drive(
                    audio,
                    driver=member.driver,
                    start=start,
                    duration=duration,
                    driver_options=member.arm.driver_options,
                )
            except MarotteError as error:
                raise MarotteError(f"the arm {member.name}: {error}") from error
        out.append(member.playing(driven[kind]))
    return out
