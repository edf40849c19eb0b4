"""Plug-ins by entry point: found, named when broken, and never in each other's way."""

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from marotte.drivers.acoustic import Acoustic
from marotte.errors import MarotteError, unknown_name
from marotte.runtime import info, registry


class Picky:
    def __init__(self, *, strength: float) -> None:
        if strength == 0:
            len(None)  # type: ignore[arg-type]
        self.strength = strength


@pytest.fixture
def strangers(monkeypatch):
    """Plug-ins of strangers beside the built-in drivers."""
    module = types.ModuleType("stranger")
    module.Picky = Picky
    monkeypatch.setitem(sys.modules, "stranger", module)
    points = {
        name: EntryPoint(name, value, "marotte.drivers")
        for name, value in {
            "picky": "stranger:Picky",
            "absent": "stranger:Absent",
            "lost": "no_such_module_anywhere:Driver",
        }.items()
    }
    every = registry.found("driver") | points
    monkeypatch.setattr(registry, "found", lambda kind: every if kind == "driver" else {})


def test_the_built_in_ones_come_by_entry_point_too():
    assert {"acoustic", "playback", "viseme"} <= registry.found("driver").keys()
    assert registry.load("driver", "acoustic") is Acoustic
    assert isinstance(registry.create("driver", "acoustic"), Acoustic)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("driver", "acustic", "no driver is called 'acustic': did you mean 'acoustic'.*known are acoustic, "),
        ("driver", "zzz", "no driver is called 'zzz': known are"),
        ("renderer", "mesch", "no renderer is called 'mesch': did you mean 'mesh'"),
        ("features", "mimi2", "no features is called 'mimi2'"),
    ],
)
def test_names_that_nobody_registered(kind, name, words):
    with pytest.raises(MarotteError, match=words):
        registry.create(kind, name)


def test_no_name_is_near_to_nothing():
    assert str(unknown_name("thing", "x", [])) == "no thing is called 'x': known are none"


def test_broken_ones_are_named(strangers):
    with pytest.raises(
        MarotteError, match=r"'lost' \(no_such_module_anywhere:Driver\) does not import: ModuleNotFound"
    ):
        registry.create("driver", "lost")
    with pytest.raises(MarotteError, match=r"'absent' \(stranger:Absent\) does not import: AttributeError"):
        registry.create("driver", "absent")
    assert isinstance(registry.create("driver", "acoustic"), Acoustic)
    status = registry.status("driver")
    assert status["acoustic"] == status["playback"] == status["picky"] == ""
    assert "no_such_module_anywhere" in status["lost"] and "stranger:Absent" in status["absent"]
    drivers = info.gather()["drivers"]
    assert drivers["picky"] == "available" and "no_such_module_anywhere" in drivers["lost"]
    assert "\n" not in "".join(drivers.values())


def test_options_that_a_plug_in_does_not_take(strangers):
    assert registry.create("driver", "picky", strength=2).strength == 2
    with pytest.raises(MarotteError, match=r"'picky' does not take these options .*strength"):
        registry.create("driver", "picky")
    with pytest.raises(MarotteError, match=r"'picky' does not take these options .*colour"):
        registry.create("driver", "picky", strength=1, colour="red")


def test_a_fault_inside_a_plug_in_stays_its_own(strangers):
    with pytest.raises(TypeError, match="NoneType"):
        registry.create("driver", "picky", strength=0)
