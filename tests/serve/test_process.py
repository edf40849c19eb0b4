"""The command as users start it, what it says when it cannot start, and the example client."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import wave
from pathlib import Path

import pytest

from marotte.runtime.cli import run
from marotte.runtime.video.ffmpeg import Child

DEMOS = Path(__file__).resolve().parents[2] / "demos"
# Pictures are few and small: a busy machine, too, lets a session in.
COMMAND = [sys.executable, "-m", "marotte", "live", "--driver", "acoustic", "--size", "64", "--fps", "5"]
# What ends a server that hangs: a first start compiles everything.
ENOUGH_S = 240


@pytest.fixture
def live():
    """Start the command; return the process and its address."""
    started = []

    def start(*options):
        process = subprocess.Popen(
            [*COMMAND, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        watch = threading.Timer(ENOUGH_S, process.kill)
        watch.daemon = True
        watch.start()
        line = process.stdout.readline()
        assert line.startswith("marotte live: http"), line + process.stderr.read()
        return process, line.split()[2]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stop(process, number):
    """Tell a server to stop; return what it still said."""
    process.send_signal(number)
    out, err = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0 and out.endswith("marotte live: stopped\n")
    assert all(line.startswith("marotte: note: ") for line in err.splitlines())
    return out + err


def test_the_example_client_is_understood_and_ctrl_c_stops_it(live, tmp_path):
    process, address = live()
    assert "ready" in process.stdout.readline()
    with wave.open(str(DEMOS / "speech.wav")) as whole, wave.open(str(tmp_path / "short.wav"), "wb") as short:
        short.setparams(whole.getparams())
        short.writeframes(whole.readframes(whole.getframerate() // 4))
    said = subprocess.run(
        [sys.executable, str(DEMOS / "live_client.py"), str(tmp_path / "short.wav"), address.rstrip("/")],
        capture_output=True,
        text=True,
        timeout=ENOUGH_S,
    )
    assert said.returncode == 0, said.stderr
    assert '"ready"' in said.stdout and '"started"' in said.stdout
    assert '"reason": "end"' in said.stdout.splitlines()[-1]
    stop(process, signal.SIGINT)


def test_another_host_prints_a_token_and_it_stops_while_it_warms_up(live):
    process, address = live("--host", "0.0.0.0")
    assert "/?token=" in address and len(address.partition("token=")[2]) >= 32
    stop(process, signal.SIGTERM)


def test_a_session_is_pushed_from_the_start(live):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"rtmp://127.0.0.1:{free.getsockname()[1]}/app/SECRET"
    process, address = live("--push", url, "--fps", "25")  # the server below looks at some dozens of pictures first
    assert "ready" in process.stdout.readline()
    session = address.rstrip("/") + process.stdout.readline().split()[-1]
    shown = url.replace("SECRET", "***")
    assert process.stdout.readline().startswith(f"marotte live: {shown}: waiting: ")  # nobody listens there yet
    server = Child(["-listen", "1", "-analyzeduration", "0", "-i", url, "-t", "0.2", "-f", "null", "-"])
    try:
        while not (line := process.stdout.readline()).endswith(": pushing\n"):
            assert line.startswith(f"marotte live: {shown}: waiting: ")
        with urllib.request.urlopen(session) as answer:
            (push,) = json.load(answer)["pushes"]
        assert push["url"] == shown
        with urllib.request.urlopen(address + "metrics") as answer:
            assert b"marotte_push_bytes_total" in answer.read()
        assert server.wait(ENOUGH_S) == 0
    finally:
        server.kill()
    assert "SECRET" not in stop(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "no such host"], "--host"),
        (["--port", "99999"], "port 99999"),
        (["--limit", "session=1"], "did you mean 'sessions'"),
        (["--tls-cert", "x"], "--tls-key"),
        (["--avatar", "nobody"], "no avatar"),
        (["--size", "9"], "size '9'"),
        (["--fps", "90"], "90 frames a second"),
        (["--push", "ftp://x/SECRET"], "cannot push to an address of kind 'ftp'"),
        (["--background", "transparent"], "cannot be transparent"),
    ],
)
def test_what_cannot_be_is_one_line(options, words, capsys):
    assert run([*COMMAND[3:], "--port", "0", *options]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_taken_port_is_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run([*COMMAND[3:], "--port", port]) == 2
    said = capsys.readouterr().err
    assert port in said and said.count("\n") == 1


def test_help_tells_the_limits(capsys):
    with pytest.raises(SystemExit):
        run([*COMMAND[3:], "--help"])
    said = capsys.readouterr().out
    assert "heartbeat_s" in said and "idle_s" in said and "--ice-server" in said
