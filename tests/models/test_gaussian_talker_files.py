"""GaussianTalker's sound windows and its training's notes, which need no torch."""

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.gaussian_talker import read_cfg_args
from marotte.models.gaussian_talker.windows import context, read_windows, rows_to_windows


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 17, 40])
def test_windows_of_rows(rows):
    """The slow twin copies row by row."""
    logits = np.random.default_rng(rows).standard_normal((rows, 29))
    windows = rows_to_windows(logits)
    assert windows.dtype == np.float64 and windows.shape == (max(0, -(-(rows - 1) // 2)), 29, 16)
    for k, window in enumerate(windows):
        for step in range(16):
            row = 2 * k - 8 + step
            inside = 0 <= row < rows - 1
            assert (window[:, step] == (logits[row] if inside else 0)).all()


def test_a_frame_hears_eight_windows():
    windows = np.random.default_rng(0).standard_normal((6, 29, 16), dtype=np.float32)
    heard = context(windows, np.array([0, 3, 5, 6, 40, -9]))
    assert heard.shape == (6, 8, 29, 16) and heard.dtype == np.float32
    assert not heard[0, :4].any() and (heard[0, 4:] == windows[:4]).all()
    assert not heard[1, 0].any() and (heard[1, 1:7] == windows).all() and not heard[1, 7].any()
    assert (heard[2, :5] == windows[1:]).all() and (heard[3, :4] == windows[2:]).all()
    assert not heard[4:].any()
    assert (context(windows, 3) == heard[1]).all()
    assert context(windows[:0], 0).shape == (8, 29, 16)


def test_file_of_windows(tmp_path):
    stored = np.random.default_rng(0).standard_normal((5, 16, 29))
    np.save(tmp_path / "aud_ds.npy", stored)
    windows = read_windows(tmp_path / "aud_ds.npy")
    assert windows.dtype == np.float32 and (windows == stored.astype(np.float32).transpose(0, 2, 1)).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.zeros((5, 29, 16)), r"has shape \[5, 29, 16\], expected \[N, 16, 29\]: 25 windows a second"),
        (np.zeros((5, 16, 44)), r"has shape \[5, 16, 44\]"),
        (np.zeros((80, 29)), r"has shape \[80, 29\]"),
        (np.zeros((0, 16, 29)), r"has shape \[0, 16, 29\]"),
        (np.full((1, 16, 29), "a"), "holds no array of numbers"),
        (np.array([{}], object), "holds no array of numbers"),
        (np.full((1, 16, 29), 1e300), "not finite"),
        (None, "is damaged"),
    ],
)
def test_other_features_are_refused(tmp_path, content, match):
    file = tmp_path / "aud_ds.npy"
    if content is None:
        file.write_bytes(b"\x93NUMPY and no more")
    else:
        np.save(file, content)
    with pytest.raises(MarotteError, match=match) as error:
        read_windows(file)
    assert "\n" not in str(error.value)


def test_rows_of_another_width_are_refused():
    with pytest.raises(MarotteError, match=r"logits have shape \[9, 44\], expected \[M, 29\]"):
        rows_to_windows(np.zeros((9, 44)))


def test_notes_of_a_training(tmp_path):
    file = tmp_path / "cfg_args"
    file.write_text(
        "Namespace(d_model=64, multires=[1, 2], lr=1.6e-06, shift=-1, name='a b', no={'a': None}, on=True)\n"
    )
    values = read_cfg_args(file)
    assert values == {
        "d_model": 64,
        "multires": [1, 2],
        "lr": 1.6e-06,
        "shift": -1,
        "name": "a b",
        "no": {"a": None},
        "on": True,
    }
    file.write_text("Namespace()")
    assert read_cfg_args(file) == {}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Namespace(a=__import__('os').getcwd())", "has a as something else"),
        ("Namespace(a=1, b=[open('x')])", "has b as something else"),
        ("Namespace(a=1 + 1)", "has a as something else"),
        ("Namespace(**{'a': 1})", "is not one line Namespace"),
        ("Namespace(1)", "is not one line Namespace"),
        ("dict(a=1)", "is not one line Namespace"),
        ("os.Namespace(a=1)", "is not one line Namespace"),
        ("Namespace(a=1", "is no cfg_args of a training"),
        ("a = 1\nb = 2", "is no cfg_args of a training"),
        ("", "is no cfg_args of a training"),
        ("Namespace(a=" + "(" * 9000 + ")" * 9000 + ")", "is no cfg_args of a training"),
        ("Namespace(a=" + "-" * 50000 + "1)", "cfg_args|something else"),
        (b"\xff\xfe\x00", "is no cfg_args of a training"),
        ("#" * (2 << 20), "at most 1048576 are read"),
    ],
    ids=range(14),
)
def test_notes_are_not_evaluated(tmp_path, text, match):
    file = tmp_path / "cfg_args"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MarotteError, match=match) as error:
        read_cfg_args(file)
    assert "\n" not in str(error.value)


def test_notes_that_are_missing_are_named(tmp_path):
    with pytest.raises(MarotteError, match="is not there"):
        read_cfg_args(tmp_path / "cfg_args")
