"""What the GAGAvatar renderer refuses, in one line each: options, sources, avatars, networks."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers.gagavatar import NETWORK, GAGAvatarRenderer

pytest.importorskip("torch", reason="GAGAvatar needs torch")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"noise": "white"}, "no noise of the renderer gagavatar is called 'white'"),
        ({"precision": "float8"}, "no precision of the renderer gagavatar is called 'float8'"),
        ({"compile": "yes"}, "compile 'yes' of the renderer gagavatar is not true or false"),
        ({"watermark": 3}, "watermark 3 of the renderer gagavatar is not the path"),
        ({"watermark": "nowhere.png"}, "watermark nowhere.png is not a picture"),
        ({"variant": "live"}, "no option of gagavatar is called 'variant'"),
        ({"rasterizer": "fast"}, "no rasterizer is called 'fast'"),
        ({"device": "tpu"}, "no device is called 'tpu'"),
    ],
)
def test_wrong_options(gagavatar, extra, message):
    with pytest.raises(MarotteError, match=message) as error:
        gagavatar.renderer.open(gagavatar.people[0], gagavatar.options(**extra))
    assert "\n" not in str(error.value)


WRONG_SOURCES = {
    "image": (
        {"image": np.zeros((3, 256, 256), np.uint8)},
        r"image is uint8 \[3, 256, 256\], expected \[3, 512, 512\]",
    ),
    "range": ({"image": np.full((3, 512, 512), 255.0)}, "image goes from 255 to 255, expected 0 to 1"),
    "nan": ({"shapecode": np.full(300, np.nan)}, "shapecode has NaN"),
    "missing": ({"shapecode": None}, "has no 'shapecode', only image, transform_matrix"),
    "mirrored": ({"transform_matrix": np.ones((3, 4))}, "transform_matrix: .*not a rotation"),
}


@pytest.mark.parametrize("case", WRONG_SOURCES)
def test_wrong_sources(gagavatar, tmp_path, case):
    changes, message = WRONG_SOURCES[case]
    content = {name: value for name, value in (gagavatar.source(0) | changes).items() if value is not None}
    np.savez(tmp_path / "source.npz", **content)
    person = replace(gagavatar.people[0], source=str(tmp_path / "source.npz"))
    with pytest.raises(MarotteError, match=message) as error:
        gagavatar.renderer.open(person, gagavatar.options())
    assert "\n" not in str(error.value)


def test_wrong_avatars(gagavatar, tmp_path, monkeypatch):
    gagavatar.write_head(tmp_path / "head.npz", 60)
    (tmp_path / "other.pt").write_bytes(b"none")
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path))
    monkeypatch.delenv("ARTALK_ASSET_DIR", raising=False)
    for changes, message in (
        ({"head": ""}, "names no head model"),
        ({"head": "absent.pkl"}, "cannot read .*absent.pkl"),
        ({"head": str(tmp_path / "head.npz")}, "has 60 vertices, GAGAvatar draws FLAME's 5023"),
        ({"source": ""}, "names no source"),
        ({"unit": 1.0}, "unit = 1, GAGAvatar's world is 5 times FLAME's: set unit = 5"),
        ({"network": "absent.pt"}, "names the network absent.pt, which is neither"),
        ({"network": ""}, f"{NETWORK} is not in .*marotte assets fetch {NETWORK}"),
        ({"network": str(tmp_path / "other.pt")}, "other.pt is truncated, or not written by torch.save"),
    ):
        with pytest.raises(MarotteError, match=message) as error:
            gagavatar.renderer.open(replace(gagavatar.people[0], **changes), gagavatar.options())
        assert "\n" not in str(error.value)
    with pytest.raises(MarotteError, match=r"network.pt is not this GAGAvatar checkpoint"):
        GAGAvatarRenderer().open(gagavatar.people[0], gagavatar.options())
    assert NETWORK in GAGAvatarRenderer.why_not() and "marotte assets fetch" in GAGAvatarRenderer.why_not()
