"""marotte live: a talking face in the browser, and for programs, that can be interrupted."""

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from marotte.runtime.cli import driver_options, renderer_options
from marotte.runtime.live.limits import Limits

if TYPE_CHECKING:
    from marotte.runtime.serve.config import ServeConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    listed = "\n".join(f"  {name:<14} {value:>10g}  {text}" for name, (value, text) in Limits.texts().items())
    parser.epilog = (
        f"limits and time-outs, each set with --limit NAME=VALUE:\n{listed}\n\n"
        "Only this machine can reach it unless --host says otherwise; clients must then know a token.\n"
        "Browsers give a microphone only to localhost and to https: use --tls-cert and --tls-key for other machines."
    )
    network = parser.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    network.add_argument("--port", type=int, default=8765, help="0: any that is free (8765)")
    network.add_argument("--token", default="", help="what clients must know (made for a --host that is not loopback)")
    network.add_argument(
        "--origin", action="append", default=[], metavar="URL", help="a page of another server that may use this one"
    )
    network.add_argument("--tls-cert", metavar="FILE", help="serve https with this certificate (PEM)")
    network.add_argument("--tls-key", metavar="FILE", help="and its key")
    network.add_argument(
        "--ice-server",
        action="append",
        default=[],
        metavar="URL[,USER,PASSWORD]",
        help="stun: or turn: server, for clients behind other networks (none)",
    )
    network.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE", help="see below")
    network.add_argument(
        "--push",
        action="append",
        default=[],
        metavar="URL",
        help="push a session to a media server from the start: rtmp://, srt://, https:// (WHIP); again for more",
    )
    picture = parser.add_argument_group("what a session is unless its client asks otherwise")
    picture.add_argument("--avatar", default="demo", help="name or folder of the avatar (demo)")
    picture.add_argument("--variant", default="live", help="set of the avatar's data where it has one (live)")
    picture.add_argument("--driver", default="viseme", help="where motion comes from (viseme)")
    picture.add_argument("--size", default="512", help="pixels: 512 or 640x480 (512)")
    picture.add_argument("--fps", help="frames a second, up to 60 (the most of 25, 30, 60 that this machine draws)")
    picture.add_argument("--background", metavar="COLOUR|IMAGE|own", help="what stands behind the head")
    picture.add_argument("--framing", default="head", help="head or bust (head)")
    picture.add_argument("--head-motion", type=float, default=1.0, metavar="0..1", help="share of head motion to keep")
    picture.add_argument("--expressiveness", type=float, default=1.0, metavar="0..3", help="1: as driven")
    picture.add_argument("--idle", type=float, default=1.0, metavar="0..2", help="blinks, gaze, breath, nods; 0: none")
    picture.add_argument("--seed", type=int, default=0, help="of idle life")
    picture.add_argument("--flame", metavar="FILE|FOLDER", help="FLAME, for motion of another basis than the avatar's")
    picture.add_argument("--rasterizer", help="for renderers that splat: cpu, triton, gsplat, ... (the best here)")
    picture.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where it is drawn (auto)")
    picture.add_argument("--bitrate", type=int, metavar="BITS", help="the most, bits a second (by size and rate)")
    picture.add_argument("--no-label", action="store_true", help="the page does not say that the face is synthetic")
    picture.add_argument("--counter", action="store_true", help=argparse.SUPPRESS)
    driver_options.add_arguments(parser)
    renderer_options.add_arguments(parser)
    work = parser.add_argument_group("work")
    work.add_argument("--threads", type=int, metavar="N", help="how many threads draw (all)")
    work.add_argument("--log", choices=("debug", "info", "warning", "error"), default="warning", help="(warning)")


def run(arguments: argparse.Namespace) -> None:
    """Serve until it is stopped."""
    from marotte.runtime.cli.progress import announce_slow
    from marotte.runtime.compiled import limit_threads
    from marotte.runtime.serve.server import serve

    logging.basicConfig(level=arguments.log.upper(), stream=sys.stderr, format="marotte: %(levelname)s: %(message)s")
    limit_threads(arguments.threads)
    serve(configured(arguments), say=lambda line: print(line, flush=True), slow=announce_slow)


def configured(arguments: argparse.Namespace) -> "ServeConfig":
    """Return the `ServeConfig` that the arguments ask for. Raises MarotteError."""
    from marotte.runtime.live.settings import LiveSettings
    from marotte.runtime.serve.asked import fps_of, size_of
    from marotte.runtime.serve.config import IceServer, ServeConfig

    limits = Limits.read(arguments.limit)
    width, height = size_of(arguments.size, limits.pixels)
    given = {name: getattr(arguments, name) for name in ("rasterizer", "device")}
    drawn = {name: value for name, value in given.items() if value is not None} | renderer_options.chosen(arguments)
    session = LiveSettings(
        avatar=arguments.avatar,
        driver=arguments.driver,
        width=width,
        height=height,
        fps=fps_of(arguments.fps or 30),
        background=arguments.background,
        framing=arguments.framing,
        expressiveness=arguments.expressiveness,
        head_motion=arguments.head_motion,
        idle=arguments.idle,
        seed=arguments.seed,
        flame=arguments.flame,
        driver_options=driver_options.chosen(arguments),
        renderer_options=drawn,
        counter=arguments.counter,
        bitrate=arguments.bitrate,
    )
    return ServeConfig(
        host=arguments.host,
        port=arguments.port,
        token=arguments.token,
        origins=tuple(arguments.origin),
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        ice_servers=tuple(map(IceServer.read, arguments.ice_server)),
        limits=limits,
        session=session,
        fps=session.fps if arguments.fps else None,
        variant=arguments.variant,
        label=not arguments.no_label,
        push=tuple(arguments.push),
    )
