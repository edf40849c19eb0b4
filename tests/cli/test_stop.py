"""How a signal becomes the end of the work, in the places where Python would lose or repeat it."""

import subprocess
import sys

import pytest

HEAD = """
import ctypes, os, signal, sys, time
from marotte.runtime.cli.stop import Stop
stop = Stop()
def ask(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("program", "said", "code"),
    [
        # A second one while the first is being dealt with.
        ("""
try:
    ask(signal.SIGINT)
except KeyboardInterrupt:
    ask(signal.SIGINT)
    ask(signal.SIGTERM)
    print("tidied up", stop.code)
stop.ignore_more()
ask(signal.SIGINT)
sys.exit(stop.code)
""", "tidied up 130", 130),
        # What is raised inside a callback from C reaches nobody; numba's compiler makes such calls.
        ("""
try:
    ctypes.CFUNCTYPE(None)(lambda: ask(signal.SIGTERM))()
    time.sleep(10)
    print("lost")
except KeyboardInterrupt:
    print("found", stop.code)
sys.exit(stop.code)
""", "found 143", 143),
        # Python notes a KeyboardInterrupt that leaves exec() and, much later, kills itself for it.
        ("""
try:
    exec("ask(signal.SIGTERM)")
except KeyboardInterrupt:
    print("caught", stop.code)
sys.exit(stop.code)
""", "caught 143", 143),
        # Other exceptions that nobody gets are still shown.
        ("""
ctypes.CFUNCTYPE(None)(lambda: 1 / 0)()
print("going on", stop.code)
""", "going on 0", 0),
    ],
)  # fmt: skip
def test_a_stop(program, said, code):
    done = subprocess.run([sys.executable, "-c", HEAD + program], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.returncode) == (said, code), done.stderr
    assert ("ZeroDivisionError" in done.stderr) == (said == "going on 0")


def test_commands_in_a_shells_background_keep_ignoring_ctrl_c():
    program = HEAD + "ask(signal.SIGINT)\nprint('going on', stop.code)"
    ignoring = f"import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nexec({program!r})"
    done = subprocess.run([sys.executable, "-c", ignoring], capture_output=True, text=True, timeout=30)
    assert done.stdout == "going on 0\n", done.stderr


def test_what_a_stop_leaves_half_made_is_not_spoken_of():
    program = """
class Half:
    def __del__(self):
        del self.never_set

Half()
print("stopped", file=sys.stderr)
try:
    ask(signal.SIGINT)
except KeyboardInterrupt:
    Half()
"""
    done = subprocess.run([sys.executable, "-c", HEAD + program], capture_output=True, text=True, timeout=30)
    before, after = done.stderr.split("stopped\n")
    assert "AttributeError" in before and not after


def test_the_writer_survives_an_interrupt_anywhere():
    """Its threads must not wait for each other for ever, wherever in it the exception comes up."""
    program = """
import random, signal
import numpy as np
from marotte.runtime.frames import Frames
from marotte.runtime.video.writer import BackgroundWriter

def stop(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, stop)
batch = Frames(np.zeros(1, np.int64), np.zeros((1, 8, 8, 3), np.uint8))
for _ in range(2000):
    writer = BackgroundWriter(lambda frames: None, limit_bytes=400)
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 5e-4))
        while True:
            writer.put(batch)
    except KeyboardInterrupt:
        writer.cancel()
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n", done.stderr
