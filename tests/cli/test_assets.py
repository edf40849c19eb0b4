"""`marotte assets`: what it prints, how it ends, and a real download from a hub on this machine."""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from marotte.runtime import assets
from marotte.runtime.cli import run

# More than the 10 MB that the client writes at once.
CONTENT = b"weights of a network, " * 1_200_000


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path / "store"))
    monkeypatch.delenv("ARTALK_ASSET_DIR", raising=False)
    return tmp_path / "store"


@pytest.fixture
def manifest(tmp_path, monkeypatch, store):
    """One small file in the group artalk, and one of FLAME's."""
    groups = {
        "artalk": {"needed_by": "driver artalk", "licence": "see the model card"},
        "flame": {"needed_by": "renderers on FLAME", "licence": "FLAME's own"},
    }
    net = {"name": "net.pt", "group": "artalk", "bytes": len(CONTENT), "huggingface": "someone/Thing:deep/net.pt"}
    net["sha256"] = hashlib.sha256(CONTENT).hexdigest()
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"groups": groups, "files": [net, {"name": "generic_model.pkl", "group": "flame"}]}))
    monkeypatch.setattr(assets, "MANIFEST", path)
    return path


def test_list_says_who_needs_what(store, capsys):
    assert run(["assets", "list"]) == 0
    told = capsys.readouterr().out
    assert str(store) in told and "MIT" in told and "register at https://flame.is.tue.mpg.de" in told
    (line,) = [line for line in told.splitlines() if "ARTalk_wav2vec.pt" in line]
    assert line.split() == ["ARTalk_wav2vec.pt", "1959.2", "MB", "missing", "driver", "artalk"]


def test_add_and_verify(store, manifest, tmp_path, capsys):
    (tmp_path / "download").write_bytes(CONTENT)
    assert run(["assets", "verify"]) == 0 and not capsys.readouterr().out
    assert run(["assets", "add", str(tmp_path / "download")]) == 0
    told = capsys.readouterr().out
    assert "net.pt" in told and "licence: see the model card" in told
    assert run(["assets", "verify"]) == 0 and "present" in capsys.readouterr().out
    (store / "net.pt").write_bytes(CONTENT[:5])
    assert run(["assets", "list"]) == 0 and "wrong: is cut short" in capsys.readouterr().out
    assert run(["assets", "verify", "net.pt"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1 and "`marotte assets fetch net.pt` puts it right" in complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "generic_model.pkl"], "generic_model.pkl is missing: `marotte assets add PATH`"),
        (["verify", "nt.pt"], "did you mean 'net.pt'"),
        (["fetch", "generic_model.pkl"], "FLAME is never fetched"),
        (["fetch", "flame"], "FLAME is never fetched"),
        (["add", "nowhere"], "there is no file or folder nowhere"),
        (["add", "."], "nothing in . is a known asset"),
        (["add", "net.pt"], "is cut short"),
    ],
)
def test_mistakes(manifest, tmp_path, monkeypatch, capsys, arguments, words):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    if arguments[-1] == "net.pt":
        (tmp_path / "cwd" / "net.pt").write_bytes(b"short")
    assert run(["assets", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint and complaint.count("\n") == 1


class Hub(BaseHTTPRequestHandler):
    """As much of huggingface.co as one file needs. `server.cut`: bytes of it that are sent before the line drops."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(0)

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.server.starts.append(start)
        self.answer(start, CONTENT[start:])

    def answer(self, start, body=b""):
        if self.path != "/someone/Thing/resolve/main/deep/net.pt":
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"' + "a" * 64 + '"')
        self.send_header("X-Repo-Commit", "b" * 40)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body[: self.server.cut])
        if len(body) > self.server.cut:
            self.server.cut = len(CONTENT)
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.cut, server.starts = len(CONTENT), []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def downloads(hub, manifest, desk, store):
    """`marotte assets fetch` in a process of its own, with the real client and the hub on this machine."""
    pytest.importorskip("huggingface_hub", reason="fetching needs huggingface_hub: pip install 'marotte[artalk]'")
    # The child reads its own manifest, so that of the test comes in through a small program.
    program = (
        "import sys, pathlib\nfrom marotte.runtime import assets\n"
        f"assets.MANIFEST = pathlib.Path({str(manifest)!r})\n"
        "from marotte.runtime.cli import run\nsys.exit(run(sys.argv[1:]))\n"
    )

    def fetch(*arguments: str, **environment: str):
        address = f"http://127.0.0.1:{hub.server_port}"
        given = {"HF_ENDPOINT": address, "HF_HOME": str(desk.folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
        # A proxy of the machine's own must not come between.
        given |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "MAROTTE_ASSETS": str(store)}
        return desk.run("-c", program, "assets", "fetch", *arguments, **(given | environment))

    desk.command = lambda *arguments: [sys.executable, *map(str, arguments)]
    return fetch


def test_a_real_download_that_drops_goes_on(downloads, hub, store):
    hub.cut = 22_000_000
    done = downloads()
    assert done.code == 0, done
    assert (store / "net.pt").read_bytes() == CONTENT
    assert hub.starts[0] == 0 and 0 < hub.starts[-1] <= 22_000_000
    assert "licence: see the model card" in done.out and "FLAME is not fetched" in done.out
    assert [p.name for p in store.iterdir() if p.name != ".verified.json"] == ["net.pt"]


def test_what_the_hub_has_not(downloads, hub, manifest, store):
    manifest.write_text(manifest.read_text().replace("deep/net.pt", "deep/other.pt"))
    done = downloads()
    assert done.code == 2 and len(done.err.splitlines()) == 1 and "404" in done.err
    assert not [p for p in store.rglob("*") if p.is_file()]


def test_offline(downloads, hub, store):
    done = downloads(HF_HUB_OFFLINE="1")
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert "offline mode" in done.err and "`marotte assets add PATH`" in done.err and not hub.starts
