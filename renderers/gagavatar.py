"""The GAGAvatar renderer: one photo of a person to pictures of the person speaking (Chu and Harada 2024).

FLAME moves 5023 of 180,255 Gaussians, a rasterizer draws them in 32 channels at 512 x 512, and a network makes a sharp
picture of that. This file is what needs no torch: what an avatar and the options must be. Source:
reference/gagavatar/SPEC.md; what goes beyond it (frame rates, sizes, backgrounds) is said where it is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet, WeakValueDictionary

from marotte.errors import MarotteError, unknown_name
from marotte.models.gagavatar.config import FLAME_SCALE
from marotte.renderers.devices import choose_device
from marotte.runtime.assets import asset_path, catalogue, examine
from marotte.runtime.avatar import Avatar
from marotte.runtime.contracts import Drive, Pending, Renderer, RenderOptions, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.splats import avatar_head

if TYPE_CHECKING:
    from marotte.renderers.gagavatar_engine import Engine, Loader
    from marotte.renderers.gagavatar_stream import Face, GAGAvatarStream

NETWORK = "GAGAvatar/GAGAvatar.pt"
_CHOICES = {"noise": ("stored", "random"), "precision": ("float32", "bfloat16", "float16")}


@dataclass(frozen=True)
class GAGAvatarOptions:
    """What a face is opened with.

    noise: `stored`, the network's own, with which the same motion always gives the same picture, or `random`, drawn
    anew for every picture as published. watermark: a picture to put into the lower right corner. precision: of the
    upsampling network. compile: torch.compile and, on CUDA, CUDA graphs: slow to start, then faster. device:
    auto, cpu or cuda; rasterizer: the name of a back end, which may imply the device.
    """

    noise: str = "stored"
    watermark: str | Path | None = None
    precision: str = "float32"
    compile: bool = False
    device: str = "auto"
    rasterizer: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(f"{name} of the renderer gagavatar", str(getattr(self, name)), choices)
        if not isinstance(self.compile, bool):
            raise MarotteError(f"compile {self.compile!r} of the renderer gagavatar is not true or false")
        if not isinstance(self.watermark, str | Path | None):
            raise MarotteError(f"watermark {self.watermark!r} of the renderer gagavatar is not the path of a picture")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "GAGAvatarOptions":
        """Return the options of these names. Raises MarotteError for one that it does not know or take."""
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise unknown_name("option of gagavatar", name, cls.__dataclass_fields__)
        return cls(**given)


class GAGAvatarRenderer(Renderer):
    """Draws avatars that were made of one photo. Options: see `GAGAvatarOptions`.

    All renderers of a process share a network's weights. Frames of one avatar, whatever the streams, are drawn
    together on CUDA; the CPU takes a second or two for each.
    """

    @staticmethod
    def why_not() -> str:
        """Return whether torch or the published network is missing."""
        if find_spec("torch") is None:
            return "torch is not installed: pip install 'marotte[gagavatar]'"
        asset = catalogue()[NETWORK]
        found = examine(asset)
        return "" if found.state in ("present", "unverified") else f"{NETWORK} is {found.state}: {asset.way}"

    def __init__(self, load: "Loader | None" = None) -> None:
        """Take what reads a network in the place of `GAGAvatar.load`, for tests with small ones."""
        self._load = load
        # By what distinguishes them, for as long as a stream shows them.
        self._faces: WeakValueDictionary[tuple[Any, ...], Face] = WeakValueDictionary()
        self._engines: WeakSet[Engine] = WeakSet()

    def open(self, avatar: Avatar, options: RenderOptions) -> RenderStream:
        """Return the stream of a new face; the first of an avatar takes the time to look at its photo, once.

        Raises MarotteError where the avatar's files do not fit together, and where torch or the network is missing.
        """
        chosen = GAGAvatarOptions.of(options.extra)
        device, rasterizer = choose_device(str(chosen.device), str(chosen.rasterizer))
        if chosen.precision == "float16" and device == "cpu":
            raise MarotteError(
                "precision 'float16' takes the CPU ten times as long as float32: use bfloat16 or float32"
            )
        if avatar.unit != FLAME_SCALE:
            raise MarotteError(
                f"avatar {avatar.name} has unit = {avatar.unit:g}, GAGAvatar's world is {FLAME_SCALE:g} times FLAME's: "
                f"set unit = {FLAME_SCALE:g}"
            )
        if find_spec("torch") is None:
            raise MarotteError("gagavatar needs torch, which is not installed: pip install 'marotte[gagavatar]'")
        import torch

        from marotte.renderers.gagavatar_engine import EngineOptions, engine
        from marotte.renderers.gagavatar_picture import Mark
        from marotte.renderers.gagavatar_stream import GAGAvatarStream

        weights = _weights(avatar)
        drawn_by = engine(weights, EngineOptions(device, rasterizer, chosen.precision, chosen.compile), self._load)
        self._engines.add(drawn_by)
        face = self._face(avatar, weights, drawn_by)
        mark = None
        if chosen.watermark is not None:
            with drawn_by.at_work():
                mark = Mark.read(chosen.watermark, options.width, options.height, drawn_by.device)
        noise = None
        if chosen.noise == "random":
            noise = torch.Generator(drawn_by.device)
            noise.seed()
        stream = GAGAvatarStream(face, options, mark, noise)
        stream.rasterizer = rasterizer
        return stream

    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return the pictures of a batch: rgb24, or rgba where the background is transparent."""
        return self.submit([(stream, drive)]).result()[0]

    def submit(self, work: Sequence[tuple[RenderStream, Drive]]) -> Pending:
        """Start work on several streams. On CUDA it returns at once, and streams that share an avatar and a size are
        drawn together."""
        together: dict[tuple[Any, ...], list[int]] = {}
        for index, (stream, drive) in enumerate(work):
            face = cast("GAGAvatarStream", stream).face
            kind = id(face), stream.width, stream.height, drive.background.transparent
            together.setdefault(kind, []).append(index)
        parts: list[tuple[list[int], Pending]] = []
        for indices in together.values():
            pieces = [(cast("GAGAvatarStream", work[i][0]), work[i][1]) for i in indices]
            parts.append((indices, pieces[0][0].face.submit(pieces)))
        return _Pending(parts, len(work))

    def warm_up(self) -> None:
        """Compile what the open faces are drawn with, or load it from its cache."""
        for each in list(self._engines):
            each.warm_up()

    def _face(self, avatar: Avatar, weights: Path, drawn_by: "Engine") -> "Face":
        """Return an avatar on an engine's device, for as long as somebody shows it the same one."""
        from marotte.models.flame_numba import HeadEvaluator
        from marotte.renderers.gagavatar_identity import person, read_source
        from marotte.renderers.gagavatar_stream import Face

        source = read_source(avatar)
        digest = sha256(source.image.tobytes() + source.transform.tobytes() + source.shape.tobytes()).digest()
        kind = digest, id(drawn_by), avatar.head_path, avatar.eyelids, avatar.basis, avatar.expressions
        face = self._faces.get(kind)
        if face is None:
            model, wanted = avatar_head(avatar), drawn_by.network.config.vertices
            if len(model.v_template) != wanted:
                raise MarotteError(
                    f"avatar {avatar.name}: its head model {avatar.head_path} has {len(model.v_template)} vertices, "
                    f"GAGAvatar draws FLAME's {wanted}: name FLAME's own file"
                )
            head = HeadEvaluator(model, source.shape, avatar.unit)
            face = Face(drawn_by, person(source, weights, drawn_by.network), head, source.camera)
            self._faces[kind] = face
        return face


@dataclass(frozen=True)
class _Pending:
    """Work under way, in parts, each with the places of its pieces."""

    parts: "list[tuple[list[int], Pending]]"
    count: int

    def result(self) -> list[Frames]:
        """Wait for the pictures, one batch for each piece of work."""
        done = {
            index: frames
            for indices, pending in self.parts
            for index, frames in zip(indices, pending.result(), strict=True)
        }
        return [done[index] for index in range(self.count)]


def _weights(avatar: Avatar) -> Path:
    """Return the file of an avatar's network: in its folder, anywhere, or one of `marotte assets`."""
    name = avatar.network or NETWORK
    path = avatar.path / name
    if path.is_file():
        return path
    if name in catalogue():
        return asset_path(name)
    raise MarotteError(
        f"avatar {avatar.name} names the network {name}, which is neither in its folder nor one of `marotte assets`: "
        f"set network = {NETWORK!r}, or where it lies"
    )
