"""Fixtures that several folders of tests share."""

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from marotte.runtime.avatar import Avatar

# Before numba and torch load OpenMP: threads that spin take the processors of the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What a shell starts in the background ignores Ctrl-C, and so would the programs that are tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOAD = """
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("interpreted", {path!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)
getattr(module, {name!r})(*{arguments!r})
"""

# Measuring its coverage would make the interpreter twice as slow. It puts itself in the language's place again at each
# call of a function in a kernel, which takes a third of its time: here once for all, as the process does nothing else.
INTERPRET = """
import sys
if "coverage" in sys.modules and (measured := sys.modules["coverage"].Coverage.current()):
    measured.stop()
from types import SimpleNamespace

import triton.language as tl
from triton.runtime import interpreter

if hasattr(interpreter, "_patch_lang") and hasattr(interpreter, "_LangPatchScope"):
    interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    interpreter._patch_lang = lambda _: interpreter._LangPatchScope()
"""

DEMOS = Path(__file__).resolve().parents[1] / "demos"
# Files of one worker: one server and one Chromium, one large network.
TOGETHER = ("tests/page/", "tests/parity/test_gagavatar")
# Those that take longest come first, so that no worker is left alone with one in the end.
LONG = (
    "tests/page/",
    "tests/parity/test_gagavatar",
    "tests/parity/test_artalk.py",
    "tests/runtime/compare/test_run.py",
    "tests/runtime/compare/test_cost.py",
    "tests/cli/test_faults.py",
    "tests/cli/test_avatars.py",
    "tests/cli/test_render.py",
    "tests/cli/test_interrupts.py",
    "tests/renderers/test_demo_avatar.py",
    "tests/renderers/test_triton.py",
    "tests/parity/test_gsplat.py",
    "tests/parity/test_triton.py",
    "tests/runtime/avatars/test_gagavatar.py",
    "tests/runtime/avatars/test_import.py",
    "tests/runtime/live/test_beside.py",
    "tests/runtime/test_demo_head.py",
    "tests/test_wheel.py",
)


def work_of(nodeid: str) -> str:
    """The work that a test belongs to: its file, or what its file is part of."""
    file = nodeid.partition("::")[0]
    return next((start for start in TOGETHER if file.startswith(start)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup` a file is the work of one worker, which makes what its tests share once.

    Not by marks, which loadgroup itself goes by: with pytest 9.2 it no longer finds them (pytest-xdist, issue 1386).
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return work_of(nodeid)

    config.option.loadscopereorder = False  # as they are collected, not those of the most tests first
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {work: place for place, work in enumerate(LONG)}
        items.sort(key=lambda item: places.get(work_of(item.nodeid), len(places)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread_of_torch_a_worker():
    """Several workers with several threads each would wait for each other."""
    if "torch" in sys.modules and "PYTEST_XDIST_WORKER" in os.environ:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Have a folder of that name written by a function of its path, unless a worker beside this one has; read only."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, write: Callable[[Path], None]) -> Path:
        done = shared / f"{name}-once"
        if not done.exists():
            made = tmp_path_factory.mktemp(name)
            write(made)
            with suppress(OSError):  # where two make it at once, one is in vain
                made.rename(done)
        return done

    return get


@pytest.fixture(scope="session")
def published(made_once):
    """What a user of SplattingAvatar has on disk, of a stand-in for FLAME: see demos/published_folder.py. Read only."""

    def write(folder):
        spec = importlib.util.spec_from_file_location("published_folder", DEMOS / "published_folder.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.write(folder / "published", frames=6, size=192, variant="live")

    return made_once("trained", write) / "published"


@pytest.fixture(scope="session")
def published_avatar(published, tmp_path_factory) -> Avatar:
    """The avatar in it, as a hand-written avatar.toml would name its parts."""
    identity = tmp_path_factory.mktemp("identity") / "identity.npy"
    table = json.loads((published / "data" / "flame_params.json").read_text())
    np.save(identity, np.array(table["shape_params"], np.float32))
    return Avatar(
        name="published",
        path=published,
        renderer="splatting-avatar",
        basis="flame2020",
        head="flame/generic_model.pkl",
        shape=str(identity),
        splats="output/point_cloud/iteration_30000",
        expressions=50,
        unit=4.0,
    )


@pytest.fixture(scope="module", params=["interpreter", "cuda"])
def on_triton(request):
    """Call a function of the test's file by name with a device, and other arguments, that repr shows whole.

    Triton decides when it is imported whether to interpret: that is done in a process of its own.
    """
    torch = pytest.importorskip("torch")
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        yield lambda name, *arguments: getattr(request.module, name)("cuda", *arguments)
        return
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            patch.setenv("OMP_NUM_THREADS", "1")
            pool.submit(exec, INTERPRET, {}).result()
        path = request.module.__file__

        def call(name, *arguments):
            pool.submit(exec, LOAD.format(path=path, name=name, arguments=("cpu", *arguments)), {}).result()

        yield call
