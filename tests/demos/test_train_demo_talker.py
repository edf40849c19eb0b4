"""The training of the demo talker: what it is asked for, that it learns, and what it writes."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
sys.path.insert(0, str(Path(__file__).parents[2] / "demos"))

import talker_torch  # noqa: E402
from talker_clips import Clip  # noqa: E402
from talker_file import write_talker  # noqa: E402
from talker_teacher import ACTIONS, Teacher, changes, pixels, shapes_of  # noqa: E402
from talker_torch import Sounds, box_of, canonical_of, new_network, train  # noqa: E402
from talker_track import make_track  # noqa: E402

from marotte.models.gaussian_talker.windows import context, rows_to_windows  # noqa: E402
from marotte.runtime.arkit import JAW_OPEN, SLOT  # noqa: E402
from marotte.runtime.avatar import load_avatar  # noqa: E402

ROWS = 31


@pytest.fixture(scope="module")
def teacher():
    return Teacher()


@pytest.fixture(scope="module")
def clips():
    """A jaw that opens as loud as the first class is, lips that round as the second."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(3):
        logits = rng.normal(size=(ROWS, 29)).astype(np.float32)
        actions = np.zeros((ROWS, ACTIONS), np.float32)
        actions[:, -3:] = np.clip(logits[:, :1], 0, 1) * JAW_OPEN * 0.5
        actions[:, SLOT["mouthPucker"]] = np.clip(logits[:, 1], 0, 1)
        made.append(Clip(logits, actions))
    return made


@pytest.fixture(scope="module")
def sounds(clips):
    return Sounds.of(clips)


@pytest.fixture(scope="module")
def shapes(teacher, sounds):
    return shapes_of(teacher, sounds.actions, 0, count=16, seen=45, steps=4)


def test_frames_hear_what_the_published_windowing_lets_them_hear(clips, sounds):
    start = 0
    for number, clip in enumerate(clips):
        windows = rows_to_windows(clip.logits[number % 2 :])
        frames = np.arange(len(windows))
        assert np.array_equal(sounds.heard(start + frames).numpy(), context(windows, frames))
        assert np.array_equal(sounds.actions[start + frames], clip.actions[number % 2 :: 2][: len(windows)])
        start += len(windows)
    assert start == len(sounds.places) == len(sounds.actions)


def test_few_shapes_are_the_teacher(teacher, sounds, shapes):
    rows, blink = np.array([0, 17, 40]), np.array([0, 0.5, 1], np.float32)
    wanted = changes(teacher, sounds.actions[rows], blink)
    made = shapes.moves(rows, blink, np.arange(len(teacher.head)))
    assert np.abs(wanted * pixels(teacher)).max() > 10
    assert np.quantile(np.abs((made - wanted) * pixels(teacher)), 0.9999) < 0.3


def test_the_canonical_lips_and_lids_are_apart(teacher):
    means, quats = teacher.canonical
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-5)
    still, _ = teacher.posed(np.zeros((1, ACTIONS), np.float32), np.zeros(1, np.float32))
    lips, hair = (teacher.parts.ids == teacher.parts.names.index(name) for name in ("lips", "hair"))
    assert np.ptp(means[lips, 1]) > 1.2 * np.ptp(still[0, lips, 1])
    assert np.median(np.abs(means - still[0])[hair]) < 1e-5


def test_the_camera_sees_the_head_frame_as_it_sees_the_turned_head(teacher):
    from talker_teacher import ORIGIN, SCALE
    from talker_track import in_head

    from marotte.models.rotations import rotvec_to_matrix

    turn = rotvec_to_matrix(np.array([0.05, -0.08, 0.03]))
    camera = teacher.avatar.framing("head").camera(512, 512)
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.05
    turned = (points - teacher.neck) @ turn.T + teacher.neck
    seen = in_head(camera.moved(turn, teacher.neck)).project((points - ORIGIN) * SCALE)
    np.testing.assert_allclose(seen, camera.project(turned), atol=1e-6)


def test_training_learns_and_writes_an_avatar(teacher, sounds, shapes, tmp_path, monkeypatch):
    for name, value in {"BATCH": 8, "CHOSEN": 64, "WARM_STEPS": 2}.items():
        monkeypatch.setattr(talker_torch, name, value)
    track, told = make_track(teacher), []
    network = new_network(box_of(teacher, shapes), 0)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    train(network, teacher, shapes, sounds, track.tokens(), 14, 0, lambda *at: told.append(at), every=2)
    assert [step for step, _, _ in told] == [2, 4, 6, 8, 10, 12, 14]
    assert told[-1][1] < 0.8 * told[0][1]
    learned = told[-1][2].state_dict()
    moved = {name for name, value in learned.items() if not torch.equal(value, start[name])}
    for part in ("audio_net", "audio_att_net", "eye_mlp", "cam_mlp", "transformer", "tri_plane.grid.grids", "null"):
        assert any(part in name for name in moved), part
    assert not any(part in name for name in moved for part in ("aabb", "scales_deform", "opacity_deform", "shs_deform"))
    # What the fastest waves of the blink's code say is never heard.
    assert not learned["deformation_net.eye_mlp.net.0.weight"][:, 12:].any()

    write_talker(tmp_path / "demo-talker", told[-1][2], teacher, track, {"steps": "14"})
    avatar = load_avatar(tmp_path / "demo-talker")
    assert avatar.renderer == "gaussian-talker" and set(avatar.files) == {"talker.safetensors"}
    assert (tmp_path / "demo-talker/talker.safetensors").stat().st_size < 8_000_000


def test_the_canonical_head_is_the_teachers(teacher):
    canonical = canonical_of(teacher)
    assert len(canonical) == len(teacher.head) and canonical.sh.shape[1:] == (16, 3)
    assert not canonical.sh[:, 1:].any() and torch.isfinite(canonical.xyz).all()
    assert not set(teacher.head) - set(range(len(teacher.splats)))
    assert len(set(teacher.head) | set(teacher.torso)) > 0.99 * len(teacher.splats)


def test_the_script_makes_a_whole_avatar(clips, teacher, tmp_path, monkeypatch, capsys):
    pytest.importorskip("wordfreq", reason="wordfreq is not installed")
    pytest.importorskip("pypinyin", reason="pypinyin is not installed")
    import train_demo_talker

    for name, value in {"BATCH": 4, "CHOSEN": 16}.items():
        monkeypatch.setattr(talker_torch, name, value)
    monkeypatch.setattr(train_demo_talker, "corpus", lambda minutes, seed, path: clips)
    monkeypatch.setattr(train_demo_talker, "shapes_of", lambda *given: shapes_of(*given, count=4, seen=8, steps=2))
    train_demo_talker.run(teacher, tmp_path / "made", tmp_path, steps=2, minutes=1, seed=0)
    assert "step 2: " in capsys.readouterr().out
    assert load_avatar(tmp_path / "made").name == "demo-talker"
