"""How well an avatar is drawn: against pictures that it drew itself."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.affine import Affine2D
from marotte.runtime.evaluate import evaluate, lines, published_split
from marotte.runtime.evaluation_files import write_evaluation
from marotte.runtime.tracked_frames import open_tracked


@pytest.fixture(scope="module")
def tracked(published, published_avatar):
    return open_tracked(published_avatar, published / "data")


@pytest.fixture(scope="module")
def unmasked(published, published_avatar, tmp_path_factory):
    """The same pictures laid on white, without their masks."""
    data = tmp_path_factory.mktemp("unmasked")
    (data / "images").mkdir()
    for path in (published / "data" / "images").glob("*.png"):
        white = Image.new("RGBA", (192, 192), "white")
        Image.alpha_composite(white, Image.open(path)).convert("RGB").save(data / "images" / path.name)
    (data / "flame_params.json").write_bytes((published / "data" / "flame_params.json").read_bytes())
    return open_tracked(published_avatar, data)


def test_its_own_pictures_come_back(unmasked):
    result = evaluate(unmasked, SplattingAvatarRenderer(), split="all")
    assert [score.frame for score in result.scores] == list(range(6))
    # Both are rounded to bytes, once straight and once on white: errors of about a step of 255.
    assert min(score.psnr for score in result.scores) > 48
    assert min(score.ssim for score in result.scores) > 0.999
    assert all(score.psnr_masked is None for score in result.scores)
    assert any("no masks" in note for note in result.notes)


def test_a_mask_is_applied_as_published(tracked):
    result = evaluate(tracked, SplattingAvatarRenderer(), split="all", every=3)
    for comparison in result.worst:
        (picture,) = tracked.read([comparison.score.frame])
        error = np.abs(comparison.render - comparison.truth).max(axis=-1)
        assert error[picture.mask > 0.995].max() < 2.5 / 255
        assert error[picture.mask < 0.005].max() < 2.5 / 255
    assert min(score.psnr for score in result.scores) > 45
    assert all(score.psnr_masked > 40 for score in result.scores)


def test_shifted_cameras_lower_it(unmasked):
    shift = Affine2D(shift_x=3.0)
    moved = tuple(camera.through(shift, camera.width, camera.height, camera.space) for camera in unmasked.cameras)
    right, wrong = (
        evaluate(frames, SplattingAvatarRenderer(), split="all", every=5).summary()
        for frames in (unmasked, replace(unmasked, cameras=moved))
    )
    assert wrong["psnr"]["mean"] < right["psnr"]["mean"] - 15
    assert wrong["ssim"]["mean"] < right["ssim"]["mean"] - 0.05


def test_the_published_split(published_avatar, tracked, tmp_path):
    frames, notes = published_split(published_avatar, 6, "test")
    assert frames == list(range(6)) and "leaves no frame of 6 to train on" in notes[0]
    frames, notes = published_split(published_avatar, 360, "train")
    assert frames == list(range(10)) and not notes
    assert published_split(published_avatar, 360, "test")[0] == list(range(10, 360))
    with pytest.raises(MarotteError, match="the train split has no frame: num_for_train = -350 of 6 frames"):
        published_split(published_avatar, 6, "train")
    without = replace(published_avatar, path=tmp_path, splats="splats")
    assert "no config.yaml" in published_split(without, 360, "test")[1][0]


def test_what_it_leaves(unmasked, tmp_path):
    result = evaluate(unmasked, SplattingAvatarRenderer(), every=2, worst=2)
    out = tmp_path / "scores"
    write_evaluation(result, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "scores.csv",
        "scores.json",
        "scores.png",
        "worst-1.png",
        "worst-2.png",
    ]
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [int(row["frame"]) for row in rows] == [0, 2, 4]
    assert float(rows[1]["psnr"]) == pytest.approx(result.scores[1].psnr, abs=1e-5)
    table = json.loads((out / "scores.json").read_text())
    assert table["summary"]["psnr"]["worst"] == min(score.psnr for score in result.scores)
    width, height = Image.open(out / "worst-1.png").size
    assert width > 3 * 320 and height > 320
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(MarotteError, match="is there already"):
        write_evaluation(result, out)
    assert any("mean" in line and "worst" in line for line in lines(result))


def test_what_cannot_be_evaluated(tracked, published_avatar, published, tmp_path):
    with pytest.raises(MarotteError, match="composited on a colour"):
        evaluate(tracked, SplattingAvatarRenderer(), background="transparent")
    with pytest.raises(MarotteError, match="moves in arkit52, tracked frames are FLAME's"):
        open_tracked(replace(published_avatar, basis="arkit52"), published / "data")
    (tmp_path / "flame_params.json").write_bytes((published / "data" / "flame_params.json").read_bytes())
    with pytest.raises(MarotteError, match="the pictures are not beside the cameras"):
        open_tracked(published_avatar, tmp_path)
