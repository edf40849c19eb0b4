"""Files from this machine: known by what they are, and only whole ones get a name in the store."""

import errno
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime import asset_import
from marotte.runtime.asset_import import add
from marotte.runtime.assets import asset_path

WEIGHTS, STYLE = b"weights" * 5000, b"style" * 3000


@pytest.mark.parametrize("link", [False, True])
def test_files_are_known_by_content_not_by_name(room, link):
    done = add([room.give("download (1)", WEIGHTS), room.give("b.bin", STYLE)], link=link)
    assert [asset.name for asset, _ in done.added] == list(room.content) and not done.refused
    assert room.kept() == sorted(room.content)
    path = asset_path("net.pt")
    assert path.read_bytes() == WEIGHTS and path.is_symlink() == link
    assert add([room.given / "download (1)"]).added and path.is_symlink() == link


def test_a_folder_is_looked_through(room):
    (room.given / "hub").mkdir()
    blob = room.give("hub/blobs/0af3", WEIGHTS)
    (room.given / "hub" / "net.pt").symlink_to(blob)
    room.give("notes.txt", b"hello")
    room.give("config.json", b"{}")
    done = add([room.given])
    assert [asset.name for asset, _ in done.added] == ["net.pt"] and done.others == 2 and not done.refused


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("any", WEIGHTS[:-1] + b"!", r"any is not net\.pt as published: its sha256 is \w{64}.*refused.*resolve/main"),
        ("net.pt", WEIGHTS[:100], r"net\.pt is cut short: it has 100 bytes, net\.pt has 35000"),
        ("net.pt", WEIGHTS + b"!", r"net\.pt is another file: it has 35001 bytes"),
        ("thing", b"hello", r"thing \(5 bytes\) is none of the files in `marotte assets list`"),
        ("empty", b"", r"empty \(0 bytes\) is none"),
    ],
)
def test_what_is_not_as_published_is_refused(room, name, content, words):
    (refusal,) = add([room.give(name, content), room.give("good", STYLE)]).refused
    assert re.search(words, refusal), refusal
    assert room.kept() == ["style_motion/glad.pt"]


def test_nothing_to_add(room):
    with pytest.raises(MarotteError, match=r"no file or folder .*nowhere"):
        add([room.given / "nowhere"])
    with pytest.raises(MarotteError, match="one file at a time"):
        add([room.given], name="net.pt")
    with pytest.raises(MarotteError, match="no asset is called 'nt'"):
        add([room.given], name="nt")


def test_a_full_disk_leaves_nothing_half(room, monkeypatch):
    path = room.give("net.pt", WEIGHTS)

    def full(source, part, progress):
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(asset_import, "_copied", full)
    with pytest.raises(MarotteError, match=r"cannot write .*net\.pt: No space left"):
        add([path])
    assert room.kept() == []


def test_a_file_that_changes_meanwhile_is_not_kept(room, monkeypatch):
    path = room.give("net.pt", WEIGHTS)
    real = asset_import._copied

    def changed(source, part, progress):
        source.write_bytes(STYLE)
        return real(source, part, progress)

    monkeypatch.setattr(asset_import, "_copied", changed)
    with pytest.raises(MarotteError, match="changed while it was copied"):
        add([path])
    assert room.kept() == []


def test_a_link_in_the_store_is_replaced_not_written_through(room):
    elsewhere = room.give("precious", b"precious")
    room.store.mkdir()
    (room.store / "net.pt").symlink_to(elsewhere)
    add([room.give("net.pt", WEIGHTS)])
    assert elsewhere.read_bytes() == b"precious" and asset_path("net.pt").read_bytes() == WEIGHTS


# --- FLAME's files, whose hashes nobody published ---


def put(path: Path, content) -> Path:
    path.write_bytes(pickle.dumps(content, 2))
    return path


def flame_model() -> dict:
    """A head of four vertices in the form of generic_model.pkl."""
    return {
        "v_template": np.eye(4, 3),
        "f": np.array([[0, 1, 2], [1, 2, 3]], np.uint32),
        "shapedirs": np.zeros((4, 3, 400)),
        "posedirs": np.zeros((4, 3, 36)),
        "J_regressor": np.full((5, 4), 0.25),
        "weights": np.full((4, 5), 0.2),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
    }


MARKS = {
    "static_lmk_faces_idx": np.zeros(51, np.int64),
    "static_lmk_bary_coords": np.full((51, 3), 1 / 3),
}


def test_flames_files_are_read_to_be_known(room):
    np.save(room.given / "marks.npy", np.array(MARKS, dtype=object), allow_pickle=True)
    masks = put(room.given / "masks", {"face": np.arange(4), "lips": np.arange(2)})
    done = add([room.given / "marks.npy", masks])
    assert [asset.name for asset, _ in done.added] == ["landmark_embedding.npy", "FLAME_masks.pkl"]
    # What was added is what is expected from then on.
    path = asset_path("FLAME_masks.pkl")
    put(path, {"face": np.arange(3), "lips": np.arange(2)})
    with pytest.raises(MarotteError, match=r"FLAME_masks\.pkl has changed since it was added"):
        asset_path("FLAME_masks.pkl")
    add([path])
    assert asset_path("FLAME_masks.pkl") == path


def test_a_flame_model_does_not_say_its_year(room):
    model = put(room.given / "model.pkl", flame_model())
    (refusal,) = add([model]).refused
    assert "--as generic_model.pkl" in refusal and "--as flame2023.pkl" in refusal
    assert add([model], name="flame2023.pkl").added[0][0].name == "flame2023.pkl"
    assert add([model], name="FLAME_masks.pkl").refused
    model.rename(room.given / "generic_model.pkl")
    assert add([room.given]).added[0][0].name == "generic_model.pkl"
    assert room.kept() == ["flame2023.pkl", "generic_model.pkl"]


def test_flame_files_that_cannot_be_used(room):
    cut = room.give("generic_model.pkl", pickle.dumps(flame_model(), 2)[:-50])
    narrow = put(room.given / "flame2023.pkl", flame_model() | {"shapedirs": np.zeros((4, 3, 10))})
    other = put(room.given / "other.pkl", {"flame_model": flame_model()})
    done = add([cut, narrow, other])
    assert not done.added and "cannot be read as one of FLAME's" in done.refused[0]
    assert "10 shape columns" in done.refused[1] and "not the published one" in done.refused[2]


def test_a_hostile_file_is_refused_and_not_run(room, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    done = add([put(room.given / "FLAME_masks.pkl", {"face": Trap(), "lips": Trap()})])
    assert not done.added and len(done.refused) == 1 and room.kept() == []
    assert not (tmp_path / "sprung").exists()
