"""The contract test suite: what every driver, feature extractor and renderer must keep to.

For plug-in authors, in their own tests:

    from marotte.runtime.testing import check_driver, check_renderer

    def test_contract():
        check_driver(MyDriver())

Each check raises AssertionError with the broken rule's wording.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from marotte.runtime.avatar import NO_BASIS, Avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import facing_camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import (
    SAMPLE_RATE,
    Drive,
    Driver,
    DriverStream,
    FeatureNeed,
    Features,
    Renderer,
    RenderOptions,
    RenderStream,
)
from marotte.runtime.join import features_for
from marotte.runtime.motion import BASES, HEAD, JAW, Motion, concatenate

PACKETS = (1, 160, 333, 4001, 16000, 2)


def check_driver(
    driver: Driver, *, seconds: float = 6.0, options: Mapping[str, Any] | None = None, rounding: float = 0.0
) -> None:
    """Assert that packets, batches, resets and other streams do not change a driver's motion.

    Also: frames come no later than lookahead and chunk allow, and none comes before its sound.
    rounding: by how much another stream in the batch may change values, for networks whose products are summed in
    another order then.
    """
    sound = speech_like(seconds)
    driver.warm_up()
    assert driver.basis in BASES, f"basis {driver.basis!r} is not one of {BASES}"
    assert isinstance(driver.fps, Fraction) and driver.fps > 0, "fps is not a positive Fraction"

    stream = driver.open(options)
    whole = _drive(stream, [sound])
    expected = seconds * driver.fps
    assert abs(len(whole) - expected) <= 1, f"{len(whole)} frames for {seconds} s at {driver.fps} fps"
    assert (whole.fps, whole.basis) == (driver.fps, driver.basis), "the motion's fps or basis is not the driver's"

    before = sound.copy()
    stream.reset()
    _same(whole, _drive(stream, _packets(sound)), "packets change the motion")
    assert np.array_equal(sound, before), "the driver changed its input"

    stream.reset()
    stream.feed(sound[: len(sound) // 3])
    stream.reset()
    _same(whole, _drive(stream, [sound]), "reset does not forget the utterance before")
    stream.close()

    _check_order(driver, sound, options)
    _check_batch(driver, sound, whole, options, rounding)


def check_features(features: Features, *, seconds: float = 4.0) -> None:
    """Assert that packets and resets do not change feature rows, and that their number fits the rate."""
    sound = speech_like(seconds)
    stream = features.open()
    whole = np.concatenate([stream.feed(sound), stream.finish()])
    assert whole.ndim == 2 and whole.shape[1] == features.width, f"rows are {whole.shape}, width {features.width}"
    assert abs(len(whole) - seconds * features.rate) <= 2, f"{len(whole)} rows for {seconds} s at {features.rate}"
    stream.reset()
    parts = np.concatenate([*(stream.feed(packet) for packet in _packets(sound)), stream.finish()])
    assert parts.shape == whole.shape and np.array_equal(parts, whole), "packets change the features"
    stream.close()


def check_renderer(renderer: Renderer, avatar: Avatar, *, size: tuple[int, int] = (96, 80)) -> None:
    """Assert that batches, resets and other streams do not change a renderer's pictures.

    Also: sizes and ticks are as asked, drives are not changed, and motion is visible.
    """
    renderer.warm_up()
    options = RenderOptions(*size)
    stream = renderer.open(avatar, options)
    drive = sample_drive(avatar, stream, renderer)
    head = {name: np.copy(getattr(drive.head, name)) for name in drive.head.__dataclass_fields__}
    whole = renderer.submit([(stream, drive)]).result()[0]

    assert (whole.width, whole.height) == (stream.width, stream.height), "pictures are not of the stream's size"
    assert np.array_equal(whole.ticks, drive.ticks), "pictures do not carry their drive's ticks"
    for name, array in head.items():
        assert np.array_equal(array, getattr(drive.head, name)), f"the renderer changed the drive's {name}"
    assert np.ptp(whole.pixels.astype(int), axis=0).max() > 0, "motion does not show in the pictures"

    stream.reset()
    single = [renderer.submit([(stream, _cut(drive, i))]).result()[0].pixels for i in range(len(drive))]
    assert np.array_equal(np.concatenate(single), whole.pixels), "frame by frame gives other pictures than a batch"

    stream.reset()
    other = renderer.open(avatar, options)
    both = renderer.submit([(stream, drive), (other, drive)]).result()
    assert len(both) == 2, "two pieces of work do not give two batches"
    for frames in both:
        assert np.array_equal(frames.pixels, whole.pixels), "another stream changes the pictures"
    stream.close()
    other.close()


def speech_like(seconds: float, seed: int = 0) -> np.ndarray:
    """Return sound [n] float32 at 16 kHz that rises and falls as syllables do, with pauses and noise."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / SAMPLE_RATE
    voice = sum(np.sin(k * pitch) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 3.3 * time), 0, 1) * (np.sin(2 * np.pi * 0.23 * time) > -0.6)
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.15 * voice * syllables + 0.002 * noise).astype(np.float32)


def sample_drive(avatar: Avatar, stream: RenderStream, renderer: Renderer, frames: int = 3) -> Drive:
    """Return a drive whose mouth, head and eyes move, for a stream of this avatar."""
    codes = np.zeros((frames, 106), np.float32)
    codes[:, JAW] = np.linspace(0, 0.3, frames)[:, None] * (1, 0, 0)
    codes[:, HEAD] = np.linspace(0, 0.2, frames)[:, None] * (0.2, 1, 0)
    basis = "arkit52" if avatar.basis == NO_BASIS else avatar.basis
    motion = Motion(codes, Fraction(25), basis, eyes=np.tile(codes[:, HEAD], 2))
    camera = stream.camera
    if camera is None and avatar.framings:
        camera = next(iter(avatar.framings.values())).camera(stream.width, stream.height)
    bridge = Bridge(avatar, camera or facing_camera((0, 0, 0), 1.0, 0.4, (stream.width, stream.height)))
    need = stream.features or renderer.needs.features
    return Drive(
        ticks=frame_ticks(0, frames, Fraction(25)),
        head=bridge.head_state(motion),
        cameras=bridge.cameras(motion),
        background=Background(),
        features=_windows(need, avatar, frames) if need else None,
    )


def _windows(need: FeatureNeed, avatar: Avatar, frames: int) -> np.ndarray:
    """Return feature windows [T, window, width] that differ from frame to frame."""
    width = features_for(need, avatar.name).width
    return np.random.default_rng(0).standard_normal((frames, need.window, width)).astype(np.float32)


def _drive(stream: DriverStream, packets: Sequence[np.ndarray]) -> Motion:
    return concatenate([*(stream.feed(packet) for packet in packets), stream.finish()])


def _packets(sound: np.ndarray) -> list[np.ndarray]:
    parts: list[np.ndarray] = []
    start = 0
    while start < len(sound):
        size = PACKETS[len(parts) % len(PACKETS)]
        parts.append(sound[start : start + size])
        start += size
    return parts


def _same(one: Motion, other: Motion, rule: str, rounding: float = 0.0) -> None:
    assert len(one) == len(other), f"{rule}: {len(one)} and {len(other)} frames"
    apart = np.abs(one.codes - other.codes).max(initial=0)
    assert apart <= rounding, f"{rule}: codes differ by {apart:.3g}"
    assert one.extras.keys() == other.extras.keys(), f"{rule}: other extras"
    for name, array in one.extras.items():
        assert np.array_equal(array, other.extras[name]), f"{rule}: {name} differs"


def _check_order(driver: Driver, sound: np.ndarray, options: Mapping[str, Any] | None) -> None:
    stream, frames, fed = driver.open(options), 0, 0
    for packet in _packets(sound):
        frames += len(stream.feed(packet))
        fed += len(packet)
        heard = Fraction(fed, SAMPLE_RATE)
        assert frames == 0 or (frames - 1) / driver.fps < heard, f"frame {frames - 1} came before its sound"
        # One frame period more: a frame is for an interval of sound, not for a moment.
        owed = (heard - Fraction(driver.lookahead) - Fraction(driver.chunk)) * driver.fps - 1
        assert frames >= owed, f"after {float(heard):.3f} s only {frames} frames: lookahead and chunk promise {owed}"
    stream.close()


def _check_batch(
    driver: Driver, sound: np.ndarray, whole: Motion, options: Mapping[str, Any] | None, rounding: float
) -> None:
    streams = [driver.open(options) for _ in range(2)]
    backwards = np.ascontiguousarray(sound[::-1])
    parts = driver.step([(streams[0], backwards), (streams[1], sound)])
    assert len(parts) == 2, "step does not give one motion for each piece of work"
    _same(whole, concatenate([parts[1], streams[1].finish()]), "another stream changes the motion", rounding)
    for stream in streams:
        stream.close()


def _cut(drive: Drive, index: int) -> Drive:
    one = slice(index, index + 1)
    values = {name: getattr(drive.head, name) for name in drive.head.__dataclass_fields__}
    head = type(drive.head)(**{name: value if name == "shape" else value[one] for name, value in values.items()})
    return Drive(
        ticks=drive.ticks[one],
        head=head,
        cameras=drive.cameras[one],
        background=drive.background,
        features=None if drive.features is None else drive.features[one],
    )
