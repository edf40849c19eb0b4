"""The table of rasterizers, tensors in and out of `rasterize`, and what the first use on a device must show."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers import bench_splats
from marotte.renderers.gaussians import Gaussians, Raster
from marotte.renderers.rasterizers import (
    BACKENDS,
    backends,
    first_use,
    gsplat_backend,
    inria_backend,
    rasterize,
    reference,
    tensors,
)
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.first_use import small_scene
from marotte.renderers.rasterizers.scenes import head_scene
from marotte.runtime.bench import Request

torch = pytest.importorskip("torch", reason="no torch")

CPU = torch.device("cpu")
CUDA = SimpleNamespace(type="cuda")


@pytest.fixture(autouse=True)
def _forgetful():
    """What was found out about back ends in one test is not known in the next."""
    backends.why_not.cache_clear()
    first_use._passed.clear()
    yield
    backends.why_not.cache_clear()
    first_use._passed.clear()


@pytest.fixture
def here(monkeypatch):
    """Make a function the `draw` of the back end `triton`, on CPU tensors; hold how often it is called."""

    def put(draw, name="triton", reason=""):
        calls = []

        def counted(gaussians, settings, background=None, *, depth=False):
            calls.append((gaussians, background))
            return draw(gaussians, settings, background, depth)

        load = backends.load
        double = SimpleNamespace(why_not=lambda: reason, draw=counted)
        monkeypatch.setattr(backends, "load", lambda asked: double if asked == name else load(asked))
        monkeypatch.setattr(backends, "place", lambda asked, home: CPU)
        return calls

    return put


def faithful(gaussians, settings, background, depth):
    raster, _ = reference.draw(tensors.as_numpy(gaussians), settings, tensors.to_numpy(background), depth=depth)
    return tensors.raster_to(raster, CPU)


def changed(change):
    """A back end that draws other Gaussians, or another view."""

    def draw(gaussians, settings, background, depth):
        return faithful(*change(gaussians, settings), background, depth)

    return draw


def moved(settings, pixels):
    matrix = settings.projmatrix.copy()
    matrix[:, 0] += matrix[:, 3] * 2 * pixels / settings.image_width
    return replace(settings, projmatrix=matrix)


FAULTS = {
    "half a pixel": lambda g, s: (g, moved(s, 0.5)),
    "transposed view": lambda g, s: (g, replace(s, viewmatrix=s.viewmatrix.T)),
    "transposed projection": lambda g, s: (g, replace(s, projmatrix=s.projmatrix.T)),
    "centred": lambda g, s: (g, moved(s, (0.5 - 0.4) * s.image_width)),
    "xyzw": lambda g, s: (replace(g, quats_wxyz=g.quats_wxyz.roll(-1, dims=1)), s),
    "conjugate": lambda g, s: (replace(g, quats_wxyz=g.quats_wxyz * torch.tensor([-1.0, 1, 1, 1])), s),
    "normalised": lambda g, s: (replace(g, quats_wxyz=torch.nn.functional.normalize(g.quats_wxyz)), s),
    "variances": lambda g, s: (replace(g, scales=g.scales**2), s),
    "colours in another order": lambda g, s: (replace(g, features=g.features.flip(1)), s),
    "opacity of a sigmoid": lambda g, s: (replace(g, opacities=g.opacities.sigmoid()), s),
    "wrong field of view": lambda g, s: (g, replace(s, tanfovx=s.tanfovx * 1.2, tanfovy=s.tanfovy * 1.2)),
}


def test_the_scene_passes_what_is_right(here):
    here(faithful)
    for kind in ((False, 3, 0, None), (True, 3, 0, None), (False, 32, 0, None), (False, 3, 16, 2)):
        given = tensors.as_tensors(small_scene(*kind)[0], CPU)
        first_use.check("triton", given, CPU, depth=True)


@pytest.mark.parametrize("name", ["triton", "gsplat"])
@pytest.mark.parametrize("fault", FAULTS)
def test_known_faults_are_errors_and_no_pictures(fault, name, here):
    here(changed(FAULTS[fault]), name)
    given = tensors.as_tensors(small_scene()[0], CPU)
    with pytest.raises(MarotteError, match=rf"rasterizer {name} on cpu draws another picture .* is off by up to"):
        first_use.check(name, given, CPU)


@pytest.mark.parametrize(("number", "value"), [("ALPHA_MAX", 0.999), ("LOW_PASS", 0.1), ("NEAR", 0.01)])
def test_other_rules_are_errors(number, value, here, monkeypatch):
    draw, given = reference.draw, tensors.as_tensors(small_scene()[0], CPU)

    def otherwise(*arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(reference, number, np.float32(value))
            return draw(*arguments, **options)

    here(lambda g, s, b, depth: tensors.raster_to(otherwise(tensors.as_numpy(g), s, b.numpy(), depth=depth)[0], CPU))
    with pytest.raises(MarotteError, match="draws another picture"):
        first_use.check("triton", given, CPU)


def test_what_gsplat_1_5_makes_of_opaque_splats_is_within_its_stated_deviation(here, monkeypatch):
    given = tensors.as_tensors(small_scene()[0], CPU)

    def capped(gaussians, settings, background, depth):
        with monkeypatch.context() as patch:
            patch.setattr(reference, "ALPHA_MAX", np.float32(0.999))
            nearly = gaussians.opacities.clamp(max=0.99)
            return faithful(replace(gaussians, opacities=nearly), settings, background, depth)

    here(capped, "gsplat")
    first_use.check("gsplat", given, CPU, depth=True)


@pytest.mark.parametrize("part", ["color", "transmittance", "depth"])
def test_every_part_is_compared(part, here):
    given = tensors.as_tensors(small_scene()[0], CPU)

    def spoilt(gaussians, settings, background, depth):
        raster = faithful(gaussians, settings, background, depth)
        return replace(raster, **{part: getattr(raster, part) * float("nan")})

    here(spoilt)
    with pytest.raises(MarotteError, match=f"another picture than the reference: {part} is off by up to nan"):
        first_use.check("triton", given, CPU, depth=True)


def test_what_cannot_draw_says_so_in_one_line(here):
    def broken(*_):
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    here(broken)
    with pytest.raises(MarotteError, match=r"rasterizer triton cannot draw on cpu: no kernel image is available; use "):
        rasterize(*small_scene(), backend="triton")


def test_what_a_back_end_refuses_it_refuses_by_name(here):
    def refusing(*_):
        raise MarotteError("no 32 channels here")

    here(refusing)
    with pytest.raises(MarotteError, match=r"^no 32 channels here$"):
        rasterize(*small_scene(False, 32), backend="triton")


def test_the_first_use_is_drawn_once_for_each_kind(here):
    calls = here(faithful)
    scenes = [small_scene(), small_scene(True), small_scene(False, 5), small_scene(False, 3, 4, 1)]
    for gaussians, camera, background in scenes * 2:
        rasterize(gaussians, camera, background, "triton")
    assert len(calls) == 8 + 4
    rasterize(*scenes[0], "triton", depth=True)
    assert len(calls) == 14


def test_arrays_go_to_the_device_and_come_back(here):
    here(faithful)
    gaussians, camera, background = small_scene()
    expected = rasterize(gaussians, camera, background, "reference", depth=True)
    there = tensors.as_tensors(gaussians, CPU)
    for behind in (background, torch.from_numpy(background)):
        ours = rasterize(gaussians, camera, behind, "triton", depth=True)
        theirs = rasterize(there, camera, behind, "triton", depth=True)
        for name in ("color", "transmittance", "depth"):
            assert isinstance(getattr(ours, name), np.ndarray) and isinstance(getattr(theirs, name), torch.Tensor)
            np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))
            np.testing.assert_array_equal(getattr(theirs, name).numpy(), getattr(expected, name))


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
def test_tensors_on_the_cpu_are_drawn_by_the_cpu_back_ends(backend):
    gaussians, camera, background = small_scene(False, 3, 16, 2)
    expected = rasterize(gaussians, camera, background, backend, depth=True)
    given = tensors.as_tensors(gaussians, CPU)
    given.means.requires_grad_()
    raster = rasterize(given, camera, torch.from_numpy(background), backend, depth=True)
    for name in ("color", "transmittance", "depth"):
        drawn = getattr(raster, name)
        assert isinstance(drawn, torch.Tensor) and not drawn.requires_grad
        np.testing.assert_array_equal(drawn.numpy(), getattr(expected, name))


def test_tensors_on_the_cpu_are_not_copied():
    gaussians, camera = head_scene(50, size=32)
    given = tensors.as_tensors(gaussians, CPU)
    assert np.shares_memory(tensors.as_numpy(given).means, gaussians.means)
    workspace = Workspace()
    color = rasterize(given, camera, workspace=workspace).color.numpy()
    assert np.shares_memory(color, workspace._rooms["color"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_other_kinds_are_made_float32(dtype):
    gaussians, camera, _ = small_scene()
    names = ("means", "opacities", "quats_wxyz", "scales", "features")
    given = Gaussians(**{name: torch.from_numpy(getattr(gaussians, name)).to(dtype) for name in names})
    rounded = Gaussians(**{name: getattr(given, name).float().numpy() for name in names})
    raster = rasterize(given, camera)
    assert raster.color.dtype == torch.float32
    np.testing.assert_array_equal(raster.color.numpy(), rasterize(rounded, camera).color)


def test_arrays_of_two_kinds_are_refused():
    gaussians, camera, _ = small_scene()
    with pytest.raises(
        MarotteError, match="scales is a tensor on cpu and means is no tensor: bring them to one device"
    ):
        rasterize(replace(gaussians, scales=torch.from_numpy(gaussians.scales)), camera)
    there = tensors.as_tensors(gaussians, CPU)
    with pytest.raises(MarotteError, match="scales is a tensor on meta and means is a tensor on cpu"):
        rasterize(replace(there, scales=there.scales.to("meta")), camera)
    with pytest.raises(MarotteError, match="no rasterizer draws tensors on meta"):
        rasterize(tensors.as_tensors(gaussians, "meta"), camera)


def test_backgrounds_of_other_shapes_are_refused_before_anything_is_drawn(here):
    calls = here(faithful)
    gaussians, camera, _ = small_scene()
    for behind in (torch.zeros(4), np.zeros((3, 35, 49))):
        with pytest.raises(MarotteError, match=r"background is float\d\d .* give numbers, \[3\] or \[35, 49, 3\]"):
            rasterize(gaussians, camera, behind, "triton")
    assert not calls


def test_auto_on_a_cuda_device_is_gsplat_where_it_is_built_else_triton(monkeypatch):
    reasons = {"gsplat": "", "triton": ""}
    monkeypatch.setattr(backends, "load", lambda name: SimpleNamespace(why_not=lambda: reasons[name]))
    assert backends.choose(CUDA) == "gsplat"
    backends.why_not.cache_clear()
    reasons["gsplat"] = "not built"
    assert backends.choose(CUDA) == "triton"
    backends.why_not.cache_clear()
    reasons["triton"] = "no compiler"
    with pytest.raises(MarotteError, match=r"gsplat: not built; triton: no compiler.*backend='cpu' fetches them"):
        backends.choose(CUDA)
    assert backends.choose(CPU) == backends.choose(None) == "cpu"


def test_a_back_end_that_is_not_here_says_why(here):
    here(faithful, "gsplat", reason="it is not installed: pip install x")
    gaussians, camera, _ = small_scene()
    with pytest.raises(
        MarotteError, match="rasterizer gsplat cannot be used here: it is not installed: pip install x;"
    ):
        rasterize(gaussians, camera, backend="gsplat")


def test_the_names_are_stable():
    assert BACKENDS == ("cpu", "reference", "triton", "gsplat", "diff_gaussian_rasterization")
    assert not backends.why_not("cpu") and not backends.why_not("reference")
    assert {"cpu", "reference"} <= set(backends.available())


@pytest.mark.parametrize("module", [gsplat_backend, inria_backend])
def test_without_torch_or_a_device_the_reason_is_said(module, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "sees no CUDA device" in module.why_not()
    monkeypatch.setattr(tensors, "find_spec", lambda name: None)
    assert module.why_not() == "torch is not installed: pip install 'marotte[cuda]'"


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(tensors, "no_cuda", lambda: "")


def test_gsplat_is_found_out_about_without_building_it(device, monkeypatch, tmp_path):
    package = tmp_path / "site" / "gsplat"
    (package / "cuda" / "csrc").mkdir(parents=True)
    found = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(gsplat_backend, "find_spec", lambda name: None)
    assert "pip install 'marotte[gsplat]'" in gsplat_backend.why_not()
    monkeypatch.setattr(gsplat_backend, "find_spec", lambda name: found)
    monkeypatch.setattr(gsplat_backend, "version", lambda name: "0.1.13")
    assert gsplat_backend.why_not() == "gsplat 0.1.13 is too old: pip install --upgrade gsplat"
    monkeypatch.setattr(gsplat_backend, "version", lambda name: "1.5.3")

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    assert "not compiled yet: run `python -c 'import gsplat.cuda._backend'`" in gsplat_backend.why_not()
    built = tmp_path / "extensions" / "gsplat_cuda"
    built.mkdir(parents=True)
    (built / "lock").touch()
    assert gsplat_backend.why_not()
    (built / "gsplat_cuda.so").touch()
    assert not gsplat_backend.why_not()
    (built / "gsplat_cuda.so").unlink()
    (package / "csrc.so").touch()
    assert not gsplat_backend.why_not()


def test_gsplat_built_for_another_python_or_cuda_is_not_built(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setattr("torch.utils.cpp_extension.get_default_build_root", lambda: str(tmp_path))
    other = tmp_path / "py27_cu42" / "gsplat_cuda"
    other.mkdir(parents=True)
    (other / "gsplat_cuda.so").touch()
    assert not gsplat_backend.is_built(tmp_path / "none")
    (tmp_path / "py27_cu42").rename(gsplat_backend.extensions_folder())
    assert gsplat_backend.is_built(tmp_path / "none")


def test_the_published_packages_are_found_by_name(device, monkeypatch):
    monkeypatch.setattr(inria_backend, "find_spec", lambda name: None)
    reason = inria_backend.why_not()
    assert "git clone --recursive" in reason and "nvcc" in reason and "non-commercial" in reason
    monkeypatch.setattr(inria_backend, "find_spec", lambda name: name.endswith("32d") or None)
    assert not inria_backend.why_not() and inria_backend.installed() == {"diff_gaussian_rasterization_32d": 32}


def test_asking_compiles_and_imports_nothing():
    code = (
        "import sys\n"
        "from marotte.renderers.rasterizers import backends\n"
        "print(backends.available())\n"
        "print([name for name in ('gsplat', 'numba') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert "cpu" in out.stdout and out.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", BACKENDS[2:])
@pytest.mark.parametrize(
    "kind", [(False, 3, 0, None), (True, 3, 0, None), (False, 32, 0, None), (False, 3, 16, 3), (False, 3, 16, 1)]
)
def test_on_a_cuda_device(name, kind):
    if reason := backends.why_not(name):
        pytest.skip(reason)
    gaussians, camera, background = small_scene(*kind)
    given = tensors.as_tensors(gaussians, "cuda")
    raster = rasterize(given, camera, torch.from_numpy(background).cuda(), name, depth=True)
    assert raster.color.is_cuda and raster.depth.is_cuda
    again = rasterize(gaussians, camera, background, name, depth=True)
    expected = rasterize(gaussians, camera, background, depth=True)
    limit = backends.backend(name).deviation
    for part in ("color", "transmittance", "depth"):
        np.testing.assert_array_equal(getattr(raster, part).cpu().numpy(), getattr(again, part))
        error = np.abs(getattr(again, part) - getattr(expected, part)) / np.ptp(getattr(expected, part))
        assert (error <= limit).mean() >= 0.99


def test_a_raster_without_depth_stays_without():
    raster = Raster(np.zeros((2, 2, 3), np.float32), np.ones((2, 2), np.float32))
    assert tensors.raster_to(raster, CPU).depth is None


def test_the_bench_draws_with_every_rasterizer_that_is_here(here, monkeypatch):
    calls = here(faithful)
    monkeypatch.setattr(bench_splats, "why_no_cuda", lambda thorough: "")
    monkeypatch.setattr(backends, "on_cuda", lambda: ("triton", "gsplat"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    cases = list(bench_splats.cases(Request(sizes=(64,), gaussians=(30,))))
    names = [(case.name, case.settings.get("channels"), case.settings.get("batch")) for case in cases]
    for channels in (3, 32):
        assert ("rasterizer/triton", channels, 1) in names and ("rasterizer/gsplat", channels, 1) in names
        assert ("rasterizer/triton", channels, 32) in names and ("rasterizer/gsplat", channels, 32) not in names
    assert ("rasterizer/cpu", None, None) in names
    assert ("splats/cpu", 32, None) in names and ("splats/reference", 32, None) in names
    assert ("splats/triton", 32, 32) in names and ("splats/gsplat", 32, 1) in names
    bench_splats._singly("triton", partial(head_scene, 30, size=24), device="cpu")()(lambda stage: None)
    assert len(calls) == 1 + 32


def test_the_bench_leaves_torch_alone_without_a_device():
    code = (
        "import sys\n"
        "from marotte.renderers import bench_splats, devices\n"
        "from marotte.runtime.bench import Request\n"
        "devices._driver_traces = lambda: False\n"
        "print([case.name for case in bench_splats.cases(Request())], 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rasterizer/cpu" in out.stdout and out.stdout.split()[-1] == "False"


def test_ours_in_the_interpreter_from_the_first_use_to_the_bench():
    pytest.importorskip("triton", reason="no triton")
    code = (
        "import numpy as np, torch\n"
        "from marotte.renderers import bench_splats\n"
        "from marotte.renderers.rasterizers import first_use, rasterize\n"
        "scene = first_use.small_scene()\n"
        "ours, theirs = (rasterize(*scene, name, depth=True) for name in ('triton', 'reference'))\n"
        "for part in ('color', 'transmittance', 'depth'):\n"
        "    np.testing.assert_allclose(getattr(ours, part), getattr(theirs, part), rtol=0, atol=1e-5)\n"
        "torch.cuda.synchronize = lambda: None\n"
        "bench_splats._PICTURES = 2\n"
        "from functools import partial\n"
        "from marotte.renderers.rasterizers.scenes import head_scene, plane_scene\n"
        "for scene in (partial(head_scene, 60, size=32), partial(plane_scene, 6, size=32, channels=5)):\n"
        "    print(bench_splats._in_batches(scene, device='cpu')()(lambda stage: None)['pairs'] > 0)"
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert out.stdout.split() == ["True", "True"], out.stderr
