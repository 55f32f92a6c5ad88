"""A trained filter as an ONNX graph for the edge: ``python -m privadv.export --onnx OUT --model PATH``.

The graph is held against PyTorch before it is written, and timed on this machine afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from privadv.console import say
from privadv.errors import PrivadvError, exit_code
from privadv.scratch import whole

if TYPE_CHECKING:
    import numpy as np

    from privadv.models.checkpoint import ShippedFilter

    Video = Sequence[np.ndarray]

CALIBRATION_FRAMES = 128
SIZES = ((112, 112), (120, 160), (224, 224), (480, 640))


def main(arguments: Sequence[str] | None = None) -> int:
    """0: exported; 2: refused or failed, in one line."""
    wanted = _parser().parse_args(arguments)
    return exit_code("export", lambda: _run(wanted))


def _run(wanted: argparse.Namespace) -> None:
    from privadv.camera.graph import Graph, convert, seal
    from privadv.camera.measuring import accept, cost, milliseconds
    from privadv.camera.opening import open_filter
    from privadv.camera.step import Step

    if not wanted.onnx.parent.is_dir():
        raise PrivadvError(f"{wanted.onnx.parent}: is no folder: make it first")
    if wanted.onnx.suffix != ".onnx":
        raise PrivadvError(f"{wanted.onnx}: name a file that ends with .onnx")
    if wanted.onnx.exists() and not wanted.overwrite:
        raise PrivadvError(f"{wanted.onnx}: exists already: name another file, or add --overwrite")
    if wanted.precision == "int8" and wanted.calibrate is None:
        raise PrivadvError("int8 needs to see what the camera will see: add --calibrate VIDEO, such as a training video")
    filter_, shipped = open_filter(wanted.model)
    step = Step(filter_)
    learnt, left = _calibration(wanted.calibrate, shipped) if wanted.calibrate else ([], [])
    say(f"tracing {wanted.model}")
    sealed = seal(convert(filter_, wanted.precision, learnt), shipped, wanted.precision)
    say(accept(step, Graph(sealed, step.needs), wanted.precision, left))
    _write(wanted.onnx, sealed)
    say(f"exported: {wanted.onnx} ({len(sealed) / 1e6:.2f} MB, {wanted.precision}, {', '.join(step.needs.names)})")
    if wanted.precision != "fp32":
        say(f"no leakage figure covers the {wanted.precision} graph: A_T and A_B_max are those of the filter in 32 bit; "
            f"a run with the row filter:{wanted.precision} measures such a graph")
    timed = Graph(sealed, step.needs, wanted.threads)
    say(f"\nonnxruntime on {wanted.threads} thread(s) of this machine:")
    say(f"{'size':>9}  {'ms/frame':>9}  {'frames/s':>8}  {'GFLOP/frame':>11}  parameters")
    for height, width in SIZES:
        parameters, flops = cost(filter_, height, width)
        ms = milliseconds(timed, height, width)
        say(f"{f'{width}x{height}':>9}  {ms:9.1f}  {1000 / ms:8.1f}  {flops / 1e9:11.3f}  {parameters}")


def _calibration(where: str, shipped: ShippedFilter) -> tuple[Sequence[Video], Sequence[Video]]:
    """The first frames of a video or folder of images, at the size at which the filter was measured: what sets the ranges, and
    what is compared; both as videos whose frames lie as far apart as those that the filter compares.
    """
    from privadv.data.video.sources import FolderSource, Frame, Scale, VideoSource

    measured = shipped.measured
    scale = None if measured is None else Scale(measured.resize, measured.crop)
    source = FolderSource(Path(where), scale) if Path(where).is_dir() else VideoSource(where, scale)
    lag = measured.lag(float(source.rate)) if measured else 1
    images = (one.image for one in source if isinstance(one, Frame))
    seen = list(itertools.islice(images, 2 * CALIBRATION_FRAMES))
    if len(seen) < 4 * lag:
        raise PrivadvError(f"{where}: has {len(seen)} frames, and calibration needs {4 * lag}: take a longer video")
    halves = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    learnt, left = ([half[start::lag] for start in range(lag)] for half in halves)
    return learnt, left


def _write(path: Path, data: bytes) -> None:
    """The file whole, or not at all."""
    try:
        with whole(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise PrivadvError(f"{path}: cannot be written ({error.strerror})") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="privadv export", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", required=True, type=Path, metavar="OUT", help="the .onnx file to write")
    parser.add_argument("--model", required=True, help="a published folder, or models:/NAME@ALIAS")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="of the network; else fp32")
    parser.add_argument("--calibrate", metavar="VIDEO", help="a video or a folder of images, for int8 and the comparison")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing .onnx")
    parser.add_argument("--threads", type=int, default=1, help="of the timing; else 1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
