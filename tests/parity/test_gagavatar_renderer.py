"""The GAGAvatar renderer with the full network, against the published code (reference/gagavatar/SPEC.md).

What goes into the rasterizer and how its picture is finished have fixtures. The picture itself has none: from the
rasterizer's inputs on it is held to a twin that blends in float64, tile by tile.
"""

from dataclasses import replace
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import PublishedSettings, reference
from marotte.renderers.rasterizers.rules import ALPHA_MAX, ALPHA_MIN, LIGHT_MIN, TILE
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.cameras.formats.gagavatar import opencv_to_gagavatar
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.motion import Motion

torch = pytest.importorskip("torch", reason="GAGAvatar needs torch")
from marotte.models.gagavatar import driven_transform  # noqa: E402
from marotte.renderers.gagavatar_engine import Engine, EngineOptions, painter  # noqa: E402
from marotte.renderers.gagavatar_identity import Source, covariances, person  # noqa: E402
from marotte.renderers.gagavatar_picture import Mark  # noqa: E402
from marotte.renderers.gagavatar_stream import Face, GAGAvatarStream  # noqa: E402

# The bounds of section 12.
LOOSE, USUAL, PICTURE = 1e-4, 2e-5, 1e-5
AVATAR = Avatar("fixture", None, "gagavatar", "flame2020", unit=5.0, head_rotation="camera")


def read(file):
    with np.load(file) as arrays:
        return dict(arrays)


def source_of(arrays, image=None):
    return Source(image, arrays["transform_matrix"], arrays["shapecode"])


def drive_of(motions, camera):
    motion = Motion(motions, 25, "flame2020")
    bridge = Bridge(AVATAR, camera)
    ticks = frame_ticks(0, len(motions), 25)
    return Drive(ticks, bridge.head_state(motion), bridge.cameras(motion), Background(own=True))


@pytest.mark.reference_files("gagavatar/camera*.npz")
def test_the_bridge_moves_the_camera_as_published(reference_file):
    arrays = read(reference_file)
    motions = np.zeros((len(arrays["emoca_rotation"]), 106), np.float32)
    motions[:, 100:103] = arrays["emoca_rotation"]
    transform = np.concatenate([np.eye(3), [[0.0], [0.0], [5000 / 512]]], axis=1).astype(np.float32)
    camera = Source(None, transform, None).camera
    got = np.stack([opencv_to_gagavatar(moved) for moved in drive_of(motions, camera).cameras])
    assert np.abs(got - arrays["emoca_transform"]).max() <= 1e-6
    want = driven_transform(torch.from_numpy(arrays["emoca_rotation"]), torch.from_numpy(transform[:, 3]))
    assert np.abs(got - want.numpy()).max() <= 1e-6


@pytest.mark.reference_files("gagavatar/frame*.npz")
def test_the_mark_is_put_as_published(reference_file):
    """Each file has samples: a mark is made that has the known ones and, with them, gives the published corner."""
    arrays = read(reference_file)
    shape = tuple(arrays["watermark.rgba.shape"])
    rgba, corner = (known(arrays, f"watermark.{name}") for name in ("rgba", "patch_on_grey"))
    alpha, colour = rgba[3], rgba[:3]
    for channel, row, column in np.argwhere(np.isfinite(corner)):
        place = channel, row, column
        change = (corner[place] - 0.5) / 0.8
        if np.isfinite(alpha[row, column]):
            opaque = alpha[row, column]
            colour[place] = 0.5 + change / opaque if opaque > 1e-5 else 0.5
        else:
            known_one = np.isfinite(colour[place]) and abs(colour[place] - 0.5) > 1e-3
            alpha[row, column] = change / (colour[place] - 0.5) if known_one else 1
            colour[place] = colour[place] if known_one else 0.5 + change
    found = np.isfinite(rgba)
    assert found.mean() > 0.1 and rgba[found].min() > -1e-2 and rgba[found].max() < 1.01
    mark = Mark(torch.from_numpy(np.where(found, rgba, 0).astype(np.float32)), 512, 512)
    got, through = torch.full((1, 3, 512, 512), 0.5), torch.zeros(1, 1, 512, 512)
    mark.put(got, through)
    inside = np.isfinite(corner)
    off = np.abs(got[0, :, -shape[1] :, -shape[2] :].numpy() - corner)[inside]
    assert off.max() <= PICTURE and not through.any()
    whole = known(arrays, "watermark.on_grey")[0]
    assert (np.abs(whole[:, -shape[1] :, -shape[2] :] - corner) <= 1e-7)[
        inside & np.isfinite(whole[:, -shape[1] :, -shape[2] :])
    ].all()
    whole[:, -shape[1] :, -shape[2] :] = np.nan
    assert (whole == got[0].numpy())[np.isfinite(whole)].all()


def known(arrays, name):
    """The array of a fixture's samples, NaN where it has none."""
    value = np.full(np.prod(arrays[f"{name}.shape"]), np.nan)
    value[:: int(arrays[f"{name}.stride"])] = arrays[f"{name}.samples"]
    return value.reshape(arrays[f"{name}.shape"])


class GivenHead:
    """FLAME's place taken by the fixture's meshes."""

    scale, model = 5.0, SimpleNamespace(eyelid_fields=None)

    def __init__(self, meshes):
        self.meshes, self.asked = meshes, []

    def vertices(self, expression, full_pose, eyelids=None):
        first = len(self.asked)
        self.asked += zip(expression, full_pose, strict=True)
        return self.meshes[first : len(self.asked)]


def part(drive, span):
    values = {name: getattr(drive.head, name) for name in drive.head.__dataclass_fields__}
    head = type(drive.head)(**{name: value if name == "shape" else value[span] for name, value in values.items()})
    return replace(drive, ticks=drive.ticks[span], head=head, cameras=drive.cameras[span])


@pytest.mark.reference_files("gagavatar/frame*.npz")
def test_four_frames_from_motion_to_picture(
    reference_file, gagavatar_network, gagavatar_photo, gagavatar_seen, monkeypatch, tmp_path
):
    arrays, network = read(reference_file), gagavatar_network(reference_file)
    file = reference_file.with_name(reference_file.name.replace("frame", "dino_decoder", 1))
    photo = gagavatar_photo(file)
    monkeypatch.setenv("MAROTTE_CACHE", str(tmp_path))
    if file in gagavatar_seen:
        monkeypatch.setattr(network, "encode", lambda image: gagavatar_seen[file])
    source = source_of(arrays, photo[0].numpy())
    options = EngineOptions("cpu", "cpu")
    engine = Engine(network, options, lambda: painter("cpu", torch.device("cpu")))
    head = GivenHead(arrays["meshes"])
    face = Face(engine, person(source, reference_file, network), head, source.camera)
    stream = GAGAvatarStream(face, RenderOptions(512, 512), None, None)
    drive = drive_of(arrays["motions"], stream.camera)

    before, cameras = stream.posed(part(drive, slice(0, 3)))
    given, pictures = [], []
    monkeypatch.setattr(engine, "paint", recorded(engine.paint, given))
    monkeypatch.setattr(engine, "upsample", recorded(engine.upsample, pictures))
    (frames,) = face.submit([(stream, part(drive, slice(3, 4)))]).result()
    batch, (camera,), _ = given[0][0]

    expressions, poses = zip(*head.asked, strict=True)
    assert (np.stack(expressions) == arrays["flame.expression_params"]).all()
    assert (np.stack(poses)[:, :3] == arrays["flame.pose_params"][:, :3]).all() and not np.stack(poses)[:, 3:6].any()
    assert (np.stack(poses)[:, 6:9] == arrays["flame.pose_params"][:, 3:]).all()
    assert (np.stack(poses)[:, 9:] == arrays["flame.eye_pose_params"]).all()
    matrices = np.stack([opencv_to_gagavatar(each) for each in (*cameras, camera)])
    assert np.abs(matrices - arrays["t_transform"]).max() <= USUAL
    places = np.concatenate([before.numpy(), batch.means[:, :5023].numpy()])
    assert np.abs(places[:, arrays["forehead_indices"]] - arrays["t_points_forehead"]).max() <= USUAL

    settings = PublishedSettings.from_camera(camera)
    assert np.abs(settings.viewmatrix - arrays["raster.viewmatrix"]).max() <= USUAL
    unused = [0, 1, 3]  # nothing reads the projected depth
    assert np.abs(settings.projmatrix - arrays["raster.projmatrix"])[:, unused].max() <= USUAL
    assert np.abs(np.array([settings.tanfovx, settings.tanfovy]) - arrays["raster.tanfov"]).max() <= 1e-9
    index = arrays["gaussian_index"]
    raw = (torch.from_numpy(arrays[f"raster.{name}"]) for name in ("rotations", "scales"))
    for got, want, limit in (
        (batch.means[0], arrays["raster.means3D"], USUAL),
        (batch.features, arrays["raster.colors_precomp"], LOOSE),
        (batch.opacities[:, None], arrays["raster.opacities"], USUAL),
        # Products of rotations, to LOOSE, and of scales of at most 0.05.
        (batch.covariances, covariances(*raw).numpy(), 4 * LOOSE * 0.05**2),
    ):
        assert np.abs(got.numpy()[index] - want).max() <= limit

    raster = given[0][1][0]
    colour, transmittance = blended_in_float64(batch, settings)
    # A Gaussian at the edge of what is blended may fall on the other side by rounding.
    off = np.abs(raster.color[0].numpy() - colour)
    assert off.mean() <= 1e-6 and (off > 1e-4).mean() <= 1e-4 and off.max() <= ALPHA_MIN * np.abs(colour).max() * 2
    assert np.abs(raster.transmittance[0].numpy() - transmittance).max() <= PICTURE
    twin = network.upsample(torch.from_numpy(colour.astype(np.float32)).permute(2, 0, 1)[None])
    assert (pictures[0][1] - twin).abs().max() <= PICTURE
    want = np.floor(255 * twin[0].permute(1, 2, 0).double().numpy() + 0.5)
    assert np.abs(frames.pixels[0] - want).max() <= 1 and (frames.pixels[0] != want).mean() <= 1e-3


def recorded(call, kept):
    """The call, which keeps what it was given and, in its own memory, what it gave."""

    def wrapped(*given):
        result = call(*given)
        kept.append((given, result))
        return result

    return wrapped


def blended_in_float64(batch, settings):
    """The picture [512, 512, 32] and the transmittance: projection as the slow twin's, blending in float64."""
    gaussians = Gaussians(
        means=batch.means[0].numpy(),
        opacities=batch.opacities.numpy(),
        covariances=batch.covariances.numpy(),
        features=batch.features.numpy(),
    )
    splats = reference.project(gaussians, settings)
    listed = reference.list_tiles(splats, settings)
    colour = np.zeros((settings.image_height, settings.image_width, gaussians.channels))
    through = np.ones(colour.shape[:2])
    blend(
        splats.positions.astype(np.float64),
        splats.conics.astype(np.float64),
        splats.opacities.astype(np.float64),
        splats.colours.astype(np.float64),
        np.concatenate(listed),
        np.cumsum([0, *map(len, listed)]),
        colour,
        through,
    )
    return colour, through


@numba.njit
def blend(positions, conics, opacities, colours, ids, starts, colour, through):
    """Put the Gaussians ids[starts[t]:starts[t + 1]] of each tile t, pixel by pixel, into colour and through."""
    height, width = through.shape
    across = (width + TILE - 1) // TILE
    for row in range(height):
        for column in range(width):
            tile = row // TILE * across + column // TILE
            for i in ids[starts[tile] : starts[tile + 1]]:
                dx, dy = positions[i, 0] - column, positions[i, 1] - row
                xx, xy, yy = conics[i, 0], conics[i, 1], conics[i, 2]
                power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy
                if power > 0:
                    continue
                alpha = min(ALPHA_MAX, opacities[i] * np.exp(power))
                if alpha < ALPHA_MIN:
                    continue
                after = through[row, column] * (1 - alpha)
                if after < LIGHT_MIN:
                    break
                weight = alpha * through[row, column]
                for channel in range(colour.shape[2]):
                    colour[row, column, channel] += weight * colours[i, channel]
                through[row, column] = after
