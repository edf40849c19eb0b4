"""Downloads: only what is whole and of the right hash gets its name, whatever comes in between."""

import errno
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from marotte.errors import MarotteError
from marotte.runtime import asset_fetch
from marotte.runtime.asset_fetch import fetch
from marotte.runtime.asset_import import add
from marotte.runtime.assets import catalogue

WEIGHTS = b"weights" * 5000


@pytest.fixture
def hub(room, monkeypatch):
    """A stand-in for Hugging Face's client: `content` is what it has, `act` what happens in place of a download."""
    state = SimpleNamespace(content=dict(room.content), act=None, calls=[])

    def download(*, repo_id, filename, revision, local_dir):
        state.calls.append((repo_id, filename, revision))
        part = Path(local_dir) / ".cache" / "huggingface" / "download" / "x.incomplete"
        part.parent.mkdir(parents=True, exist_ok=True)
        if state.act:
            state.act(part)
        path = Path(local_dir) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(state.content[filename])
        part.rename(path)
        return str(path)

    client, utils = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.utils")
    client.hf_hub_download = download
    utils.enable_progress_bars = utils.disable_progress_bars = lambda: None
    utils.logging = SimpleNamespace(set_verbosity_error=lambda: None)
    client.constants = SimpleNamespace(ENDPOINT="http://localhost:1")
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", utils)
    return state


def raising(error: Exception, left: bytes = b""):
    def act(part):
        if left:
            part.write_bytes(left)
        raise error

    return act


def test_fetch(room, hub):
    path = fetch(room.net)
    assert path.read_bytes() == WEIGHTS and hub.calls == [("someone/Thing", "net.pt", "main")]
    assert fetch(room.net) == path and len(hub.calls) == 1
    fetch(catalogue()["style_motion/glad.pt"])
    assert room.kept() == sorted(room.content) and not (room.store / ".incoming").exists()


def test_what_is_wrong_in_the_store_is_replaced(room, hub):
    room.store.mkdir()
    (room.store / "net.pt").write_bytes(WEIGHTS[:77])
    assert fetch(room.net).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("content", "words"),
    [(WEIGHTS[:-1] + b"!", "is not net.pt as published"), (WEIGHTS[:50], "cut short"), (b"", "cut short")],
)
def test_another_file_than_published_is_not_kept(room, hub, content, words):
    hub.content["net.pt"] = content
    with pytest.raises(MarotteError, match=f"what came from https://huggingface.co/.*{words}.*nothing of it was kept"):
        fetch(room.net)
    assert [p for p in room.store.rglob("*") if p.is_file()] == []


def test_a_broken_download_goes_on(room, hub):
    hub.act = raising(ConnectionError("reset by peer"), WEIGHTS[:1000])
    with pytest.raises(MarotteError, match=r"ConnectionError: reset by peer.*goes on from where.*assets add PATH") as e:
        fetch(room.net)
    assert "https://huggingface.co/someone/Thing/resolve/main/net.pt" in str(e.value) and "\n" not in str(e.value)
    assert not (room.store / "net.pt").exists()
    found = []
    hub.act = lambda part: found.append(part.read_bytes())
    assert fetch(room.net).read_bytes() == WEIGHTS and found == [WEIGHTS[:1000]]


def test_no_network_leaves_nothing(room, hub):
    hub.act = raising(OSError("offline mode is enabled"))
    with pytest.raises(MarotteError, match="offline mode is enabled"):
        fetch(room.net)
    assert list(room.store.iterdir()) == []


def test_without_a_name_server_the_client_is_not_asked(room, hub, monkeypatch):
    def unknown(*_):
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(asset_fetch, "getproxies", dict)
    monkeypatch.setattr(asset_fetch.socket, "getaddrinfo", unknown)
    with pytest.raises(MarotteError, match=r"Name or service not known.*assets add PATH"):
        fetch(room.net)
    assert not hub.calls and list(room.store.iterdir()) == []
    monkeypatch.setattr(asset_fetch, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert fetch(room.net).read_bytes() == WEIGHTS


def test_the_first_cause_is_what_is_told(room, hub):
    def act(part):
        try:
            raise OSError(-2, "Name or service not known")
        except OSError as error:
            raise RuntimeError("cannot find the file in the local cache") from error

    hub.act = act
    with pytest.raises(MarotteError, match=r"could not be fetched \(OSError: .*Name or service not known\)"):
        fetch(room.net)


def test_a_full_disk(room, hub, monkeypatch):
    hub.act = raising(OSError(errno.ENOSPC, "No space left on device"), b"half")
    with pytest.raises(MarotteError, match=r"disk is full under .*MAROTTE_ASSETS"):
        fetch(room.net)
    monkeypatch.setattr(asset_fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(MarotteError, match=r"has room for 14 bytes, net\.pt has 35000"):
        fetch(room.net)
    assert not (room.store / "net.pt").exists()


def test_stopped_by_hand(room, hub):
    hub.act = raising(KeyboardInterrupt(), b"half")
    with pytest.raises(KeyboardInterrupt):
        fetch(room.net)
    assert not (room.store / "net.pt").exists() and list(room.store.rglob("*.incomplete"))


def test_flame_is_never_fetched(room, hub):
    with pytest.raises(MarotteError, match=r"generic_model\.pkl cannot be fetched: register at https://flame"):
        fetch(catalogue()["generic_model.pkl"])
    assert not hub.calls


def test_without_the_client(room, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MarotteError, match=r"pip install 'marotte\[artalk\]'"):
        fetch(room.net)


def test_a_store_that_cannot_be_made(room, hub, monkeypatch):
    room.store.write_text("a file in the way")
    with pytest.raises(MarotteError, match="cannot write"):
        fetch(room.net)
    with pytest.raises(MarotteError, match="cannot write"):
        add([room.give("net.pt", WEIGHTS)])
