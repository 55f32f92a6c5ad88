"""A trained filter on a video, a camera, a folder of images or a pipe: ``python -m privadv.filter IN OUT --model PATH``.

It fails closed: whatever goes wrong, no frame is written that did not come out of the filter, and nothing half done
has the name that was asked for.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from privadv.console import amount_of, number_of, say
from privadv.errors import PrivadvError, exit_code

if TYPE_CHECKING:
    from privadv.camera.opening import Opened
    from privadv.data.video.sinks import Sink
    from privadv.data.video.sources import Scale, Source

PIPE = "-"
VIDEOS = (".mp4", ".m4v")
RATE_FORM = re.compile(r"\d{1,9}(\.\d{1,40})?|\d{1,9}/\d{1,9}")
FINEST_RATE = 1_001_000
BROKEN_PIPE, BY_SIGNAL = 141, 128


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 1: a live source broke off, what came before is kept; 2: refused or failed, in one line; 128+n: a signal."""
    wanted = _parser().parse_args(arguments)
    raw_out = sys.stdout.buffer
    # Frames alone go down the pipe.
    aside = redirect_stdout(sys.stderr) if wanted.output == PIPE else nullcontext()
    try:
        with aside:
            return exit_code("filter", lambda: _run(wanted, raw_out))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), raw_out.fileno())
        return BROKEN_PIPE


def _run(wanted: argparse.Namespace, raw_out: BinaryIO) -> int:
    from privadv.camera.frames import FrameFilter
    from privadv.camera.noise import Noise
    from privadv.camera.opening import open_model
    from privadv.camera.recording import Recording, Stopped

    _check(wanted)
    opened = open_model(wanted.model)
    if wanted.lag and not opened.step.needs.before:
        raise PrivadvError("--lag: this filter compares no frames: leave it out")
    source = _source(wanted, _scale(wanted, opened))
    rate = float(source.rate)
    lag = wanted.lag or (opened.measured.lag(rate) if opened.measured else 1)
    for line in _facts(wanted, opened, lag, rate):
        say(line)
    filter_ = FrameFilter(opened.step, Noise(wanted.seed), lag, opened.device)
    try:
        why = Recording(source, filter_, _sink(wanted, source, raw_out), wanted.seconds).run()
    except Stopped as stopped:
        print("privadv: filter: stopped before the end: nothing is kept", file=sys.stderr)
        return BY_SIGNAL + stopped.number
    say(f"filtered: {'the pipe' if wanted.output == PIPE else wanted.output}")
    if lost := getattr(source, "lost", 0):
        say(f"{lost} packets or frames of the stream arrived damaged")
    if why:
        print(f"privadv: filter: {why}: what came before is kept", file=sys.stderr)
    return 1 if why else 0


def _check(wanted: argparse.Namespace) -> None:
    """Refuse what cannot be meant, before anything is opened."""
    if wanted.output != PIPE:
        out = Path(wanted.output)
        if Path(wanted.input).exists() and out.exists() and out.samefile(wanted.input):
            raise PrivadvError(f"{out}: is the input too: name another output")
        if out.is_dir() and any(out.iterdir()):
            raise PrivadvError(f"{out}: holds files already: name a new folder")
        if out.is_file() and not wanted.overwrite:
            raise PrivadvError(f"{out}: exists already: name another output, or add --overwrite")
        if not out.parent.is_dir():
            raise PrivadvError(f"{out.parent}: is no folder: make it first")
        if out.suffix and out.suffix not in VIDEOS:
            raise PrivadvError(f"{out}: write a .mp4, a folder for images, or - for a pipe")
    if wanted.input == PIPE and wanted.size is None:
        raise PrivadvError("raw frames on a pipe say nothing of their size: add --size WIDTHxHEIGHT")
    folder = Path(wanted.input).is_dir()
    if wanted.size and wanted.input != PIPE:
        raise PrivadvError("--size is that of raw frames on a pipe: leave it out, what else comes in says its own")
    if wanted.fps and wanted.input != PIPE and not folder:
        raise PrivadvError("--fps is that of raw frames or of a folder of images: leave it out, a video says its own")
    if wanted.format and (wanted.input == PIPE or folder):
        raise PrivadvError("--format is that of a device: leave it out")
    if wanted.keep_audio and (wanted.input == PIPE or folder or Path(wanted.output).suffix not in VIDEOS):
        raise PrivadvError("--keep-audio: there is sound from a video into a video only")


def _scale(wanted: argparse.Namespace, opened: Opened) -> Scale | None:
    from privadv.data.video.sources import Scale

    if wanted.native:
        return None
    if opened.measured is None:
        raise PrivadvError(
            f"{wanted.model}: does not say at which size its leakage was measured: publish it again, or add --native "
            "for a video that no figure covers"
        )
    return Scale(opened.measured.resize, opened.measured.crop)


def _source(wanted: argparse.Namespace, scale: Scale | None) -> Source:
    from privadv.data.video.sources import RATE, FolderSource, PipeSource, VideoSource

    if wanted.input == PIPE:
        return PipeSource(sys.stdin.buffer, wanted.size, scale, wanted.fps or RATE)
    if Path(wanted.input).is_dir():
        return FolderSource(Path(wanted.input), scale, wanted.fps or RATE)
    return VideoSource(wanted.input, scale, wanted.format, wanted.keep_audio)


def _sink(wanted: argparse.Namespace, source: Source, raw_out: BinaryIO) -> Sink:
    from privadv.data.video.sinks import FolderSink, PipeSink, VideoSink

    if wanted.output == PIPE:
        return PipeSink(raw_out)
    out = Path(wanted.output)
    if out.suffix not in VIDEOS:
        return FolderSink(out)
    return VideoSink(out, source.rate, source.time_base, wanted.crf, source.sound)


def _facts(wanted: argparse.Namespace, opened: Opened, lag: int, rate: float) -> Iterator[str]:
    """What a user must know of the video that comes out; ``rate``: its frames a second."""
    measured = opened.measured
    if wanted.native:
        yield "--native: at full resolution, which no leakage figure covers"
    elif measured is not None:
        (rows, columns), (height, width) = measured.resize, measured.crop
        yield f"frames are scaled to {columns}x{rows} and cropped to {width}x{height}, as where the filter was measured"
        made = "synthetic video" if measured.synthetic else measured.dataset
        weight = "" if measured.counts else ", which does not count as evidence of privacy"
        least = "at least " if measured.lower_bound else ""
        yield f"measured on {made}: A_T {measured.A_T:.2f}, A_B_max {least}{measured.A_B_max:.2f}{weight}"
        yield (f"the figures are those of single clips of {measured.frames} frames; a longer video shows more of everybody "
               "in it, and none covers that")
    if opened.precision != "fp32":
        yield f"the figures are not the {opened.precision} graph's, but those of the filter in 32 bit: none covers this one"
    if opened.step.needs.before:
        yield f"each frame is compared to the one {lag} before it ({lag / rate:.2g} s)"
    if wanted.seed is not None and opened.step.needs.noise:
        yield "--seed: whoever knows it and has the filter can take the noise away"
    if wanted.keep_audio:
        yield "--keep-audio: the sound is copied as it is, and voices identify people"


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write WIDTHxHEIGHT, such as 640x480")
    return int(match[2]), int(match[1])


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"'{text}' is no seed: write 0 or more, below 2^64")
    return int(text)


def _rate(text: str) -> Fraction:
    try:
        # What a calculator shows of 24000/1001 is that; containers take no numbers of more than 31 bits.
        rate = Fraction(text).limit_denominator(FINEST_RATE) if RATE_FORM.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is no frame rate: write 25 or 30000/1001")
    return rate


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="privadv filter", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN", help="a video, a folder of images, rtsp://..., /dev/video0, - for raw RGB frames")
    parser.add_argument("output", metavar="OUT", help="a .mp4, a new folder for PNG images, or - for raw RGB frames")
    parser.add_argument("--model", required=True, help="a published folder, an exported .onnx, or models:/NAME@ALIAS")
    parser.add_argument("--native", action="store_true", help="keep the resolution; no leakage figure covers that")
    parser.add_argument("--keep-audio", action="store_true", help="copy the sound; voices identify people")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing .mp4")
    parser.add_argument("--seed", type=_seed, help="draw the noise from it, for the same video again; else from the system")
    parser.add_argument("--crf", type=int, default=20, choices=range(52), metavar="0-51", help="quality of H.264, 0 is lossless")
    parser.add_argument("--lag", type=number_of("frames"), metavar="N",
                        help="compare to the frame N before, not to that as long before as in training")
    parser.add_argument("--seconds", type=amount_of("seconds"), help="stop after so many seconds of video")
    parser.add_argument("--format", default="", help="input format of a device: v4l2, dshow, avfoundation, lavfi")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of raw frames that come in")
    parser.add_argument("--fps", type=_rate, help="of raw frames or images that come in; else 25")
    return parser


if __name__ == "__main__":
    sys.exit(main())
