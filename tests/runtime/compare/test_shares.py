"""What arms share is said, and what they do not."""

from marotte.runtime.compare.shares import Facts, shares


def test_what_is_the_same_and_what_differs():
    one = Facts("one", avatar="demo", motion="viseme", basis="arkit52", licence="CC0-1.0")
    two = Facts("two", avatar="demo", motion="acoustic", basis="arkit52", licence="MIT")
    found = shares([one, two], ["All say the same sound."])
    assert found == {
        "same": ["All say the same sound.", "All have the same avatar (demo) and expression basis (arkit52)."],
        "differs": [
            "two differs from one in motion (acoustic instead of viseme) and licence (MIT instead of CC0-1.0)."
        ],
    }
    assert shares([one, one])["differs"] == ["one is what one is in all of this."]


def test_what_is_not_known_is_neither_shared_nor_different():
    one, two = (Facts(name, avatar="demo", camera="its own") for name in ("one", "two"))
    film = Facts("film", camera="the film's")
    found = shares([one, two, film])
    assert found["same"] == ["All but film, of which it is not known, have the same avatar (demo)."]
    assert found["differs"][1] == (
        "film differs from one in camera (the film's instead of its own). Whether they share avatar is not known."
    )


def test_one_arm_shares_nothing():
    assert shares([Facts("one", avatar="demo")], ["All say the same sound."]) == {"same": [], "differs": []}
