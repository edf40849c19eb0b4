"""The GAGAvatar renderer with a small network: the contract, identities, noise, precision, memory.

What finishes pictures, and the forehead, are in test_gagavatar_parts.py, refusals in test_gagavatar_refusals.py.
CUDA's way runs here on CPU tensors.
"""

import gc
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.flame_numba import HeadEvaluator
from marotte.renderers.gagavatar import GAGAvatarRenderer
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.camera import Camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive
from marotte.runtime.motion import Motion
from marotte.runtime.testing import check_renderer

torch = pytest.importorskip("torch", reason="GAGAvatar needs torch")
from marotte.models.gagavatar import GAGAvatar  # noqa: E402
from marotte.renderers import gagavatar_engine  # noqa: E402
from marotte.renderers.gagavatar_identity import covariances, person, read_source  # noqa: E402
from marotte.renderers.rasterizers import Gaussians, rasterize  # noqa: E402

OWN = Background(own=True)


@pytest.fixture
def people(gagavatar):
    return gagavatar.people


@pytest.fixture
def renderer(gagavatar):
    return gagavatar.renderer


@pytest.fixture
def options(gagavatar):
    return gagavatar.options


def drive_of(avatar, stream, frames=4, background=OWN, seed=0, fps=25, **tracks):
    random = np.random.default_rng(seed)
    codes = np.zeros((frames, 106), np.float32)
    codes[:, :3] = random.normal(0, 2, (frames, 3))
    codes[:, 100:103] = random.normal(0, 0.2, (frames, 3))
    codes[:, 103] = random.uniform(0, 0.3, frames)
    motion = Motion(codes, fps, "flame2020", **tracks)
    bridge = Bridge(avatar, stream.camera)
    return Drive(frame_ticks(0, frames, fps), bridge.head_state(motion), bridge.cameras(motion), background)


def part(drive, span):
    values = {name: getattr(drive.head, name) for name in drive.head.__dataclass_fields__}
    head = type(drive.head)(**{name: value if name == "shape" else value[span] for name, value in values.items()})
    return replace(drive, ticks=drive.ticks[span], head=head, cameras=drive.cameras[span])


def drawn(renderer, stream, drive):
    stream.reset()
    return renderer.render(stream, drive).pixels


def test_contract(renderer, people):
    check_renderer(renderer, people[0])


def test_two_people_at_a_time_are_as_each_alone(renderer, people, options):
    streams = [renderer.open(avatar, options()) for avatar in people]
    drives = [drive_of(avatar, stream, seed=i) for i, (avatar, stream) in enumerate(zip(people, streams, strict=True))]
    alone = [drawn(renderer, stream, drive) for stream, drive in zip(streams, drives, strict=True)]
    assert (alone[0] != alone[1]).any()
    for stream in streams:
        stream.reset()
    for frame in range(4):
        work = [(s, part(d, slice(frame, frame + 1))) for s, d in zip(streams, drives, strict=True)]
        # In either order, and together.
        if frame == 0:
            got = [renderer.render(*each) for each in work]
        else:
            got = renderer.submit(work[::-1]).result()[::-1]
        for frames, want in zip(got, alone, strict=True):
            assert (frames.pixels[0] == want[frame]).all()


def test_what_is_shared(gagavatar, renderer, people, options):
    first, again, other = (renderer.open(avatar, options()) for avatar in (people[0], people[0], people[1]))
    elsewhere = GAGAvatarRenderer(gagavatar.load).open(people[0], options(rasterizer="reference"))
    assert elsewhere.rasterizer == "reference" and first.rasterizer == "cpu"
    assert first.face is again.face and first.face is not other.face
    assert first.face.engine is other.face.engine
    assert first.face.engine is not elsewhere.face.engine
    assert first.face.engine.network is elsewhere.face.engine.network
    short = renderer.open(people[0], options(precision="bfloat16"))
    assert short.face.engine.network is not first.face.engine.network
    del first, again, other, elsewhere, short
    gc.collect()
    assert not gagavatar_engine._NETWORKS and not gagavatar_engine._ENGINES


def test_a_person_is_seen_once(people, tmp_path, renderer, monkeypatch, options):
    first = renderer.open(people[0], options()).face.person
    gc.collect()
    seen = []
    look = GAGAvatar.identity
    monkeypatch.setattr(GAGAvatar, "identity", lambda *given: seen.append(1) or look(*given))
    again = renderer.open(people[0], options()).face.person
    for name in first.__dataclass_fields__:
        assert (getattr(first, name) == getattr(again, name)).all()
    assert not seen
    cache = tmp_path / "cache" / "identities"
    (file,) = cache.iterdir()
    del again
    for damage in (b"", file.read_bytes()[:900], b"{" * 64):
        file.write_bytes(damage)
        with pytest.warns(MarotteWarning, match="is damaged"):
            renderer.open(people[0], options())
    from safetensors.torch import load_file, save_file

    content = load_file(file)
    save_file(content | {"features": content["features"] * torch.nan}, file)
    with pytest.warns(MarotteWarning, match="features is not as it was written"):
        renderer.open(people[0], options())
    assert len(seen) == 4 and [each.name for each in cache.iterdir()] == [file.name]
    renderer.open(people[1], options())
    assert len(seen) == 5 and len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_no_error(people, tmp_path, renderer, options):
    (tmp_path / "cache").write_text("a file, not a folder")
    renderer.open(people[0], options())


def test_covariances_are_those_of_raw_quaternions(gagavatar, people):
    weights = people[0].path / "network.pt"
    network = gagavatar.load(weights)
    given = read_source(people[0])
    identity = network.identity(torch.from_numpy(given.image)[None], torch.from_numpy(given.transform)[None])
    looks, made = identity.looks, person(given, weights, network)
    raw = {"quats_wxyz": looks.quats_wxyz[0], "scales": looks.scales[0]}
    assert (covariances(*raw.values()) == made.covariances).all()
    assert (looks.quats_wxyz[0, : gagavatar.config.vertices].norm(dim=1) < 0.5).all()
    means = identity.means(torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (1, 5023, 3)).astype(np.float32)))
    camera = given.camera
    small = Camera(camera.R, camera.t, np.diag([1 / 16, 1 / 16, 1]) @ camera.K, 32, 32)
    pictures = [
        rasterize(Gaussians(means=means[0], opacities=made.opacities, features=made.features, **form), small)
        for form in (raw, {"covariances": made.covariances})
    ]
    assert (pictures[0].color - pictures[1].color).abs().max() <= 1e-5
    assert pictures[0].transmittance.mean() < 0.9


def test_head_moves_by_the_camera_and_translation_moves_all(renderer, people, monkeypatch, options):
    stream = renderer.open(people[0], options())
    kept = []
    paint = stream.face.engine.paint
    monkeypatch.setattr(stream.face.engine, "paint", lambda *given: kept.append(given[:2]) or paint(*given))
    shift = np.tile(np.array([[0.004, -0.003, 0.01]], np.float32), (2, 1))
    still, moved = (drive_of(people[0], stream, 2, **tracks) for tracks in ({}, {"translation": shift}))
    assert (drawn(renderer, stream, still) != drawn(renderer, stream, moved)).any()
    for index in range(2):
        (before, (one,)), (after, (other,)) = kept[index], kept[2 + index]
        assert (before.means == after.means).all()
        points = before.means[0].numpy().astype(np.float64)
        assert np.abs(other.project(points) - one.project(points + 5 * shift[0])).max() <= 1e-6
    assert np.abs(kept[0][1][0].R - kept[1][1][0].R).max() > 0.01


def test_all_of_the_head_turns_with_root_and_neck(renderer, people, monkeypatch, options):
    """FLAME's own turn of the head is the camera's, so that hair goes along and the forehead is not left behind."""
    stream = renderer.open(people[0], options())
    kept = []
    paint = stream.face.engine.paint
    monkeypatch.setattr(stream.face.engine, "paint", lambda *given: kept.append(given[:2]) or paint(*given))
    still = drive_of(people[0], stream, 2)
    root, neck = np.array([[0.1, -0.3, 0.2], [0, 0, 0.1]], np.float32), np.array([[0.2, 0, 0], [0, 0.4, 0]], np.float32)
    drawn(renderer, stream, still)
    drawn(renderer, stream, replace(still, head=replace(still.head, root=root, neck=neck)))
    head = replace(stream.face.head.model, skinning_weights=np.eye(5, dtype=np.float32)[np.full(5023, 1)])
    whole = HeadEvaluator(head, scale=5.0)
    for index in range(2):
        (before, (one,)), (after, (other,)) = kept[index], kept[2 + index]
        assert (before.means == after.means).all()
        rest, pose = np.zeros((1, 15), np.float32), np.zeros((1, 15), np.float32)
        pose[0, :6] = *root[index], *neck[index]
        none = np.zeros((1, 100), np.float32)
        points, turned = (whole.vertices(none, each)[0].astype(np.float64) for each in (rest, pose))
        assert np.abs(other.project(points) - one.project(turned)).max() <= 1e-4


def test_a_camera_of_another_picture_shows_the_same(renderer, people, options):
    stream = renderer.open(people[0], options())
    drive = drive_of(people[0], stream, 1)
    camera = drive.cameras[0]
    wide = replace(camera, K=np.array([[2, 0, 32], [0, 2, 0], [0, 0, 1]]) @ camera.K, width=128, height=64)
    assert np.abs(drawn(renderer, stream, replace(drive, cameras=(wide,))) - drawn(renderer, stream, drive)).max() == 0


def test_noise(renderer, people, monkeypatch, options):
    plain, noisy, other = (renderer.open(people[0], options(noise=n)) for n in ("stored", "random", "random"))
    drive = drive_of(people[0], plain, 3)
    pictures = [drawn(renderer, stream, drive).astype(int) for stream in (plain, noisy, other)]
    assert all(np.abs(a - b).max() > 3 for a, b in ((pictures[0], pictures[1]), (pictures[1], pictures[2])))
    assert (drawn(renderer, plain, drive) == pictures[0]).all() and (drawn(renderer, noisy, drive) != pictures[1]).any()
    # Drawn picture by picture in the published order.
    given = []
    engine = noisy.face.engine
    upsample = engine.upsample
    monkeypatch.setattr(engine, "upsample", lambda x, noise: given.append(noise) or upsample(x, noise))
    noisy.noise.manual_seed(3)
    noisy.reset()
    renderer.submit([(noisy, part(drive, slice(0, 2))), (plain, part(drive, slice(0, 1)))]).result()
    generator = torch.Generator().manual_seed(3)
    for layers in given[:2]:
        assert all((a == b).all() for a, b in zip(layers, engine.network.random_noise(generator), strict=True))
    assert given[2] is None


@pytest.mark.parametrize("noise", ["stored", "random"])
def test_batches_of_several_streams(renderer, people, noise, monkeypatch, options):
    """As on CUDA, whose batches give the same to rounding."""
    streams = [renderer.open(people[0], options(noise=n)) for n in ("stored", noise)]
    behind = [OWN, Background(colour=(1, 0, 0))]
    drives = [
        drive_of(people[0], s, 3, background=b, seed=i) for i, (s, b) in enumerate(zip(streams, behind, strict=True))
    ]
    engine = streams[0].face.engine
    counts = []
    paint = engine.paint

    def counted(batch, cameras, lap):
        counts.append(len(cameras))
        raster, _ = paint(batch, cameras, lap)
        return raster, Ticket(len(counts) == 2)

    def both():
        for stream in streams:
            stream.reset()
            if stream.noise:
                stream.noise.manual_seed(1)
        return [frames.pixels for frames in renderer.submit(list(zip(streams, drives, strict=True))).result()]

    single = both()
    monkeypatch.setattr(engine, "paint", counted)
    monkeypatch.setattr(engine, "batch", 4)
    together = both()
    assert counts == [4, 2, 2]  # and the second once more, since it did not fit
    for index, (one, many) in enumerate(zip(single, together, strict=True)):
        if noise == "stored" or index == 0:
            assert np.abs(one.astype(int) - many).max() <= 1


class Ticket:
    def __init__(self, lost):
        self._lost = lost

    def overflowed(self):
        return self._lost


def test_memory_that_runs_out(renderer, people, monkeypatch, options):
    stream = renderer.open(people[0], options())
    drive = drive_of(people[0], stream, 7)
    want = drawn(renderer, stream, drive)
    engine = stream.face.engine
    most = 2
    upsample = engine.upsample

    def limited(pictures, noise):
        if len(pictures) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return upsample(pictures, noise)

    monkeypatch.setattr(engine, "upsample", limited)
    engine.batch = 8
    with pytest.warns(MarotteWarning) as notes:
        got = drawn(renderer, stream, drive)
    assert len(notes) == 2 and "2 pictures at once from now on" in str(notes[1].message)
    assert np.abs(got.astype(int) - want).max() <= 1 and engine.batch == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(renderer, stream, drive)
    most = 0
    with pytest.warns(MarotteWarning), pytest.raises(MarotteError, match="too small for a single picture"):
        drawn(renderer, stream, drive)
    most = 1
    assert drawn(renderer, stream, drive).shape == want.shape


def test_precision(renderer, people, options):
    exact, short = (renderer.open(people[0], options(precision=p)) for p in ("float32", "bfloat16"))
    drive = drive_of(people[0], exact)
    off = np.abs(drawn(renderer, exact, drive).astype(int) - drawn(renderer, short, drive))
    assert 0 < off.max() <= 8
    with pytest.raises(MarotteError, match=r"float16.*ten times as long"):
        renderer.open(people[0], options(precision="float16"))


def test_compiled(renderer, people, monkeypatch, options):
    made = []
    monkeypatch.setattr(torch, "compile", lambda call, **given: made.append(given) or call)
    streams = [renderer.open(people[0], options(compile=c)) for c in (False, True)]
    drive = drive_of(people[0], streams[0], 2)
    assert (drawn(renderer, streams[0], drive) == drawn(renderer, streams[1], drive)).all() and len(made) == 1
    renderer.warm_up()


def test_float_pictures_are_bytes_over_255(gagavatar, people, tmp_path):
    content = gagavatar.source(0)
    np.savez(tmp_path / "source.npz", **content | {"image": content["image"] / np.float32(255)})
    floats, whole = read_source(replace(people[0], source=str(tmp_path / "source.npz"))), read_source(people[0])
    assert floats.image.dtype == np.float32 and (floats.image == whole.image).all()


def test_motion_that_is_not_finite(renderer, people, options):
    stream = renderer.open(people[0], options())
    drive = drive_of(people[0], stream, 3)
    want = drawn(renderer, stream, drive)
    stream.reset()
    renderer.render(stream, part(drive, slice(0, 1)))
    broken = replace(drive.head, expression=np.where(np.arange(3)[:, None] == 2, np.nan, drive.head.expression))
    with pytest.raises(MarotteError, match=f"the motion at tick {drive.ticks[2]} has NaN"):
        renderer.render(stream, part(replace(drive, head=broken), slice(1, 3)))
    # The stream is as it was before.
    assert (renderer.render(stream, part(drive, slice(1, 3))).pixels == want[1:]).all()


def test_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import importlib.util as u\n"
        "find = u.find_spec; u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from marotte.renderers.gagavatar import GAGAvatarRenderer\n"
        "print(GAGAvatarRenderer.why_not())\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "torch is not installed: pip install 'marotte[gagavatar]'\n"
