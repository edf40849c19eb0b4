"""The Triton rasterizer against its slow twin and itself, in Triton's interpreter and on a CUDA device if there is one.

What the interpreter lets pass and the compiler does not is found by compiling every kernel, which needs no device.
"""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from marotte.errors import MarotteError  # noqa: E402
from marotte.renderers.gaussians import Raster  # noqa: E402
from marotte.renderers.rasterizers import PublishedSettings  # noqa: E402
from marotte.renderers.rasterizers.batch import GaussianBatch, Views  # noqa: E402
from marotte.renderers.rasterizers.reference import draw as draw_slowly  # noqa: E402
from marotte.renderers.rasterizers.tensors import FIELDS, as_numpy, as_tensors, raster_to, to_tensor  # noqa: E402
from marotte.renderers.rasterizers.triton_backend import Workspace, draw, draw_batch, why_not  # noqa: E402


def cpu_tests():
    """The module that the CPU rasterizer is tested by: its random scenes, and how near is near."""
    spec = importlib.util.spec_from_file_location("cpu_tests", Path(__file__).with_name("test_rasterizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Sums are fused on the device and taken in blocks: as near as the published kernels are to themselves.
    module.CLOSE = 2e-5
    return module


def scene(seed, **options):
    gaussians, camera, background = cpu_tests().random_scene(seed, **options)
    return gaussians, PublishedSettings.from_camera(camera), background


def assert_same(ours, theirs):
    """Hold two pictures to each other to the last bit."""
    for name in ("color", "transmittance", "depth"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def check_against_the_twin(device, seed, channels=None, count=None):
    gaussians, settings, background = scene(seed, count=count, channels=channels)
    fast = draw(as_tensors(gaussians, device), settings, to_tensor(background, device), depth=True)
    assert fast.color.device.type == device
    slow = draw_slowly(gaussians, settings, background, depth=True)[0]
    cpu_tests().assert_agree(raster_to(fast, None), slow, scale=4.0)


def pictures(device, count=40, *, shape="quats", colour="features", channels=3, share=True):
    """Three pictures of one face, moved and seen from three sides: stacked, and one by one."""
    random = np.random.default_rng(5)
    gaussians, settings, _ = scene(10, count=count, channels=channels)
    settings = [replace(settings, image_width=40, image_height=33, tanfovx=0.3 + 0.1 * n) for n in range(3)]
    singles = []
    for n in range(3):
        own = {"means": gaussians.means + random.normal(0, 0.05, (count, 3)), "opacities": gaussians.opacities}
        if shape == "quats":
            own["quats_wxyz"] = random.normal(size=(count, 4))
            own["scales"] = gaussians.scales if share else gaussians.scales * (1 + n)
        else:
            own["covariances"] = np.random.default_rng(0 if share else n).uniform(0.5, 1, (count, 6)) ** 8 * 0.01
        if colour == "features":
            own["features"] = gaussians.features if share else gaussians.features + n
        else:
            own["sh"], own["sh_degree"] = np.random.default_rng(1).normal(size=(count, 16, 3)), 2
        if not share:
            own["opacities"] = gaussians.opacities * (1 - 0.2 * n)
        arrays = {k: v if k == "sh_degree" else v.astype(np.float32) for k, v in own.items()}
        singles.append(as_tensors(replace(gaussians, **(dict.fromkeys((*FIELDS, "sh_degree")) | arrays)), device))
    always = ("means", "quats_wxyz")
    never = ("opacities", "scales", "covariances", "features") if share else ()
    stacked = {}
    for name in FIELDS:
        values = [getattr(one, name) for one in singles]
        if values[0] is None:
            continue
        together = name in always or (name not in never and name != "sh")
        stacked[name] = torch.stack(values) if together else values[0]
    batch = GaussianBatch(**stacked, sh_degree=singles[0].sh_degree)
    return batch, Views.stack(settings, device), singles, settings


def check_batch(device, shape, colour, channels, share, backgrounds):
    batch, views, singles, settings = pictures(device, shape=shape, colour=colour, channels=channels, share=share)
    random = torch.Generator().manual_seed(0)
    whole = {"none": None, "colour": (channels,), "picture": (33, 40, channels), "pictures": (3, 33, 40, channels)}
    for name in backgrounds.split():
        background = None if name == "none" else torch.rand(whole[name], generator=random).to(device)
        raster = draw_batch(batch, views, background, depth=name != "none")
        assert raster.color.shape == (3, 33, 40, channels) and raster.transmittance.shape == (3, 33, 40)
        for n in range(3):
            behind = background[n] if name == "pictures" else background
            depth = None if raster.depth is None else raster.depth[n]
            own = Raster(raster.color[n], raster.transmittance[n], depth)
            assert_same(own, draw(singles[n], settings[n], behind, depth=name != "none"))
            behind = None if behind is None else behind.cpu().numpy()
            slow = draw_slowly(as_numpy(singles[n]), settings[n], behind, depth=name != "none")[0]
            cpu_tests().assert_agree(raster_to(own, None), slow, scale=4.0)


def check_overflow(device, capacity):
    batch, views, *_ = pictures(device)
    whole = draw_batch(batch, views, depth=True)
    workspace = Workspace(capacity)
    assert not workspace.overflowed()
    cut = draw_batch(batch, views, depth=True, workspace=workspace)
    ticket = workspace.ticket
    assert ticket.pairs > capacity
    assert (cut.transmittance >= whole.transmittance).all() and (cut.transmittance > whole.transmittance).any()
    # Another batch drawn in between does not disturb the ticket.
    draw_batch(batch, views, workspace=workspace)
    assert ticket.overflowed()
    again = draw_batch(batch, views, depth=True, workspace=workspace)
    assert not workspace.overflowed() and not workspace.ticket.overflowed()
    assert_same(again, whole)


def check_workspace(device):
    batch, views, *_ = pictures(device)
    workspace = Workspace()
    first = draw_batch(batch, views, depth=True, workspace=workspace)
    kept = [part.clone() for part in (first.color, first.transmittance, first.depth)]
    fewer, views_fewer, *_ = pictures(device, count=7, colour="sh")
    draw_batch(fewer, views_fewer, workspace=workspace)
    for part, copy in zip((first.color, first.transmittance, first.depth), kept, strict=True):
        assert torch.equal(part, copy)
    assert_same(draw_batch(batch, views, depth=True, workspace=workspace), first)
    assert not workspace.overflowed()


def check_nothing_to_draw(device):
    gaussians, settings, background = scene(2, count=5, channels=3)
    behind = to_tensor(background, device)
    none = as_tensors(
        replace(gaussians, **{f: v[:0] for f in FIELDS if (v := getattr(gaussians, f)) is not None}), device
    )
    raster = draw(none, settings, behind, depth=True)
    assert not raster.color.any() and not raster.depth.any() and (raster.transmittance == 1).all()
    away = as_tensors(
        replace(gaussians, means=gaussians.means + np.float32(1e4) * np.float32(settings.viewmatrix[:3, 0])), device
    )
    raster = draw(away, settings, behind, depth=True)
    expected = behind.expand_as(raster.color)
    assert torch.equal(raster.color, expected) and not raster.depth.any() and (raster.transmittance == 1).all()


def check_not_finite(device):
    gaussians, settings, background = scene(10, count=40, channels=32)
    sound = as_tensors(gaussians, device)
    bad = {}
    for place, name in enumerate(f for f in FIELDS if getattr(gaussians, f) is not None):
        array = getattr(gaussians, name).copy()
        array[3 * place, ...] = np.nan
        array[3 * place + 1].reshape(-1)[-1:] = np.inf
        if array.ndim == 1:
            array[3 * place + 1] = np.inf
        array[3 * place + 2] = np.nan if array.ndim == 1 else array[3 * place + 2]
        bad[name] = array
    spoilt = as_tensors(replace(gaussians, **bad), device)
    ours = draw(spoilt, settings, to_tensor(background, device), depth=True)
    assert all(torch.isfinite(part).all() for part in (ours.color, ours.transmittance, ours.depth))
    slow = draw_slowly(replace(gaussians, **bad), settings, background, depth=True)[0]
    cpu_tests().assert_agree(raster_to(ours, None), slow, scale=4.0)
    assert not torch.equal(ours.color, draw(sound, settings, to_tensor(background, device)).color)


def check_extremes(device):
    """Huge, needle-thin, behind the camera, opaque over 1, covariances of no ellipse: what the twin makes of them."""
    random = np.random.default_rng(3)
    gaussians, settings, _ = scene(10, count=30, channels=3)
    settings = replace(settings, image_width=50, image_height=70)
    covariances = random.normal(size=(30, 6)) * 10.0 ** random.uniform(-6, 4, (30, 1))
    spread = random.normal(size=(10, 3, 1)) * 10.0 ** random.uniform(-2, 3, (10, 1, 1))
    needles = spread @ spread.transpose(0, 2, 1)
    covariances[:10] = needles[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    opacities = random.choice([0.0, 1 / 255, 0.003, 0.3, 1.0, 5.0, -1.0], 30)
    fields = {"quats_wxyz": None, "scales": None, "covariances": covariances.astype(np.float32)}
    gaussians = replace(gaussians, **fields, opacities=opacities.astype(np.float32))
    fast = draw(as_tensors(gaussians, device), settings, depth=True)
    slow = draw_slowly(gaussians, settings, depth=True)[0]
    # The exponent of a needle is a difference of large numbers: its last digits are the order of evaluation.
    for name in ("color", "transmittance"):
        error = np.abs(getattr(raster_to(fast, None), name) - getattr(slow, name))
        assert np.quantile(error, 0.98) <= 1e-3 and error.max() <= 0.1


def check_many_channels(device):
    gaussians, settings, _ = scene(2, count=60, channels=40)
    background = np.random.default_rng(0).random(40).astype(np.float32)
    ours = draw(as_tensors(gaussians, device), settings, to_tensor(background, device), depth=True)
    slow = draw_slowly(gaussians, settings, background, depth=True)[0]
    cpu_tests().assert_agree(raster_to(ours, None), slow, scale=4.0)


@pytest.mark.parametrize("seed", range(8))
def test_random_scenes_agree_with_the_twin(on_triton, seed):
    on_triton("check_against_the_twin", seed)


@pytest.mark.parametrize("channels", [1, 2, 4, 17, 32])
def test_any_number_of_channels(on_triton, channels):
    on_triton("check_against_the_twin", 12, channels, 80)


def test_more_channels_than_one_product_takes(on_triton):
    on_triton("check_many_channels")


@pytest.mark.parametrize(
    ("shape", "colour", "channels", "share", "backgrounds"),
    [
        ("quats", "features", 3, True, "none colour picture pictures"),
        ("quats", "features", 32, True, "pictures"),
        ("quats", "features", 3, False, "colour"),
        ("covariances", "features", 5, False, "none"),
        ("covariances", "features", 3, True, "none"),
        ("quats", "sh", 3, True, "picture"),
    ],
)
def test_a_batch_is_its_pictures(on_triton, shape, colour, channels, share, backgrounds):
    on_triton("check_batch", shape, colour, channels, share, backgrounds)


@pytest.mark.parametrize("capacity", [1, 20])
def test_a_batch_without_room_says_so_and_is_drawn_again(on_triton, capacity):
    on_triton("check_overflow", capacity)


@pytest.mark.parametrize("check", ["check_workspace", "check_nothing_to_draw", "check_not_finite", "check_extremes"])
def test_special_cases(on_triton, check):
    on_triton(check)


def test_wrong_input_is_named():
    batch, views, singles, settings = pictures("cpu")
    wrong = [
        (replace(batch, scales=batch.scales[:-1]), "scales must be"),
        (replace(batch, features=batch.features[:, :0]), "features"),
        (replace(batch, features=batch.features.numpy()), "features is numpy.ndarray"),
        (replace(batch, opacities=None, scales=None), "shape is given by"),
        (replace(batch, features=None), "colour is given by"),
        (replace(batch, features=None, sh=torch.zeros(40, 4, 3), sh_degree=2), "sh_degree 2"),
    ]
    for gaussians, said in wrong:
        with pytest.raises(MarotteError, match=said):
            draw_batch(gaussians, views)
    with pytest.raises(MarotteError, match="no precision is called 'tf23'"):
        draw_batch(batch, views, precision="tf23")
    with pytest.raises(MarotteError, match="3 pictures and there are 1 views"):
        draw_batch(batch, Views.stack(settings[:1], "cpu"))
    with pytest.raises(MarotteError, match=r"numpy\.ndarray"):
        draw(as_numpy(singles[0]), settings[0])


def test_more_pairs_than_can_be_listed_are_refused():
    with pytest.raises(MarotteError, match="draw fewer at once"):
        Workspace().make_room((4, 100, 512, 512), 2**31)


def test_room_never_shrinks():
    workspace, kind = Workspace(), (1, 10, 32, 32)
    workspace.make_room(kind, 1_000_000)
    most = workspace.capacity(kind, None)
    assert most > 1_000_000
    workspace.make_room(kind, 10)
    assert workspace.capacity(kind, None) == most


def test_why_not_says_what_is_missing():
    reason = why_not()
    assert "\n" not in reason and (reason == "" or "CUDA" in reason or "compiler" in reason)


def test_importing_is_cheap():
    code = (
        "import marotte.renderers.rasterizers.triton_backend, sys;"
        "print('torch' in sys.modules, 'triton' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


POINTERS = {"order": "*i64", "ends": "*i64", "tile_of": "*i16", "usable": "*i8"} | dict.fromkeys(
    ("hits", "rects", "keys", "id_of", "starts", "ids"), "*i32"
)
NUMBERS = set(
    "count width height opacity_step shape_step scale_step usable_step coefficients capacity across tiles shift total "
    "feature_step behind_step behind_pixel".split()
)
KERNELS = {
    "project quats": ("triton_project", "project_kernel", {"COVARIANCES": False, "BLOCK": 128}),
    "project covariances": ("triton_project", "project_kernel", {"COVARIANCES": True, "BLOCK": 128}),
    "sh 0": ("triton_project", "sh_kernel", {"DEGREE": 0, "BLOCK": 128}),
    "sh 3": ("triton_project", "sh_kernel", {"DEGREE": 3, "BLOCK": 128}),
    "usable": ("triton_project", "usable_kernel", {"CHANNELS": 3, "PADDED": 4, "BLOCK": 1024}),
    "list": ("triton_bins", "list_kernel", {"BLOCK": 128}),
} | {
    f"blend {channels} {precision} {flag}": (
        "triton_blend",
        "blend_kernel",
        {
            "CHANNELS": channels,
            "PADDED": padded,
            "BACKGROUND": flag,
            "DEPTH": flag,
            "BLOCK": 16,
            "PRECISION": precision,
        },
    )
    for channels, padded, precision in (
        (1, 0, "ieee"),
        (3, 0, "ieee"),
        (7, 16, "ieee"),
        (32, 32, "ieee"),
        (32, 32, "tf32x3"),
        (32, 32, "tf32"),
    )
    for flag in (False, True)
    if precision == "ieee" or not flag
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_compile_for_an_h100(kernel, monkeypatch, tmp_path):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    module, name, constants = KERNELS[kernel]
    function = getattr(importlib.import_module(f"marotte.renderers.rasterizers.{module}"), name)
    if not isinstance(function, JITFunction):
        pytest.skip("TRITON_INTERPRET is set")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    numbers = [n for n in function.arg_names if n in NUMBERS]
    # Whole numbers are passed as they are: none becomes a constant, for which a kernel would be compiled anew.
    assert sorted(function.do_not_specialize) == sorted(numbers)
    types = dict.fromkeys(function.arg_names, "*fp32") | POINTERS | dict.fromkeys(numbers, "i32") | {"modifier": "fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    types = {n: types[n] for n in function.arg_names}
    source = ASTSource(function, types, {(function.arg_names.index(n),): value for n, value in constants.items()})
    blends = name == "blend_kernel"
    options = {"enable_fp_fusion": blends, "num_warps": 16 if blends and constants["PADDED"] else 4}
    if blends:
        options["maxnreg"] = 128
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    if blends and constants["PADDED"]:
        # Products in float32 leave the tensor cores alone; the others are for them.
        assert ("mma" in compiled.asm["ptx"]) is (constants["PRECISION"] != "ieee")
    assert ".target sm_90" in compiled.asm["ptx"] and len(compiled.asm["cubin"]) > 0
    # Who counts a Gaussian's tiles and who lists them must find the same.
    assert blends or name == "usable_kernel" or "fma.rn.f32" not in compiled.asm["ptx"]
