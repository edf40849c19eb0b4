"""`marotte avatars verify` and `evaluate`, as the command line calls them."""

import argparse
import json

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.cli import avatars_measure

TOML = """
name = "published"
renderer = "splatting-avatar"
basis = "flame2020"
expressions = 50
unit = 4.0
head = "{published}/flame/generic_model.pkl"
shape = "identity.npy"
splats = "{published}/output/point_cloud/iteration_30000"
"""


@pytest.fixture
def avatar(published, tmp_path):
    folder = tmp_path / "avatar"
    folder.mkdir()
    table = json.loads((published / "data" / "flame_params.json").read_text())
    np.save(folder / "identity.npy", np.array(table["shape_params"], np.float32))
    (folder / "avatar.toml").write_text(TOML.format(published=published.as_posix()))
    return folder


@pytest.fixture
def act():
    """A function that runs the action of some arguments and returns its exit code."""
    parser = argparse.ArgumentParser()
    avatars_measure.add_arguments(parser.add_subparsers())

    def run(*arguments):
        parsed = parser.parse_args([str(argument) for argument in arguments])
        return parsed.act(parsed)

    return run


def test_verify(act, avatar, published, tmp_path, capsys):
    out = tmp_path / "film.mp4"
    assert act("verify", avatar, published / "data", "-o", out, "--frames", 3) == 0
    told = capsys.readouterr().out
    assert told.startswith("published on ") and ": healthy" in told and f"overlay: {out}" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["avatar", "film.mp4"]


def test_verify_where_it_is_off(act, avatar, published, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "film.mp4"
    data.mkdir()
    (data / "images").symlink_to(published / "data" / "images")
    table = json.loads((published / "data" / "flame_params.json").read_text())
    for frame in table["frames"]:
        frame["world_mat"] = (np.array(frame["world_mat"]) * [1, 1, 1, 0.25]).tolist()
    (data / "flame_params.json").write_text(json.dumps(table))
    assert act("verify", avatar, data, "-o", out, "--frames", 3, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["faults"] == ["scale4_missing"] and not told["healthy"]
    points = tmp_path / "film.landmarks.npz"
    assert points.is_file() and str(points) in told["doctor"]["mend"]
    assert out.is_file()


def test_evaluate(act, avatar, published, tmp_path, capsys):
    out = tmp_path / "scores"
    act("evaluate", avatar, published / "data", "-o", out, "--split", "all", "--every", 3, "--worst", 1)
    told = capsys.readouterr().out
    assert "2 frames of the split all, on white" in told and "psnr" in told and "ssim" in told
    assert {path.name for path in out.iterdir()} == {"scores.csv", "scores.json", "scores.png", "worst-1.png"}
    assert len(json.loads((out / "scores.json").read_text())["frames"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify", "AVATAR", "DATA", "-o", "film.txt"), "is no film"),
        (("verify", "AVATAR", "DATA", "-o", "nowhere/film.mp4"), "there is no folder nowhere"),
        (("verify", "demo", "DATA", "-o", "OUT.mp4"), "moves in arkit52"),
        (("verify", "nobody", "DATA", "-o", "OUT.mp4"), "nobody"),
        (("verify", "AVATAR", "DATA/images", "-o", "OUT.mp4"), "holds no cameras"),
        (("evaluate", "AVATAR", "DATA", "-o", "DATA"), "is there already"),
        (("evaluate", "AVATAR", "DATA", "-o", "OUT", "--split", "train"), "the train split has no frame"),
        (("evaluate", "AVATAR", "DATA", "-o", "OUT", "--every", "0"), "every 0"),
        (("evaluate", "AVATAR", "DATA", "-o", "OUT", "--lpips", "vg"), "did you mean 'vgg'"),
    ],
)
def test_bad_input_is_one_line(act, avatar, published, tmp_path, arguments, words):
    places = {"AVATAR": str(avatar), "DATA": str(published / "data"), "OUT": str(tmp_path / "out")}
    filled = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, place) if argument.startswith(name) else argument
        filled.append(argument)
    with pytest.raises(MarotteError, match=words) as caught:
        act(*filled)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["avatar"]
