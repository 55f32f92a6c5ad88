"""Frames out of video: one sequential pass with PyAV against seeking, sequential OpenCV, torchcodec and the ffmpeg command."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, alone, faster, paired
from privadv.data.video import count_frames, decode

SIZE = (120, 160)
WINDOW = 16


def rows(repeats: int = 5) -> list[Row]:
    """Every way against ours on a long H.264 and a long XviD file, then scattered frames, cores and memory."""
    with tempfile.TemporaryDirectory(prefix="privadv-bench-") as folder:
        videos = make(Path(folder))
        found = [row for name, path in videos.items() for row in _ways(name, path, repeats)]
        long = next(iter(videos.values()))
        return [
            *found,
            *_scattered(long, Path(folder), repeats),
            *_cores(long, repeats),
            *_exact(videos),
            *_memory(long, Path(folder)),
        ]


def make(folder: Path) -> dict[str, Path]:
    """The videos, out of a natural one: PRIVADV_REFERENCE_DATA/video/*.mp4, else ffmpeg's generator (said in the name)."""
    reference = os.environ.get("PRIVADV_REFERENCE_DATA")
    natural = sorted(Path(reference, "video").glob("*.mp4")) if reference else []
    source = (
        ["-stream_loop", "3", "-i", str(natural[0])]
        if natural
        else ["-f", "lavfi", "-i", "mandelbrot=s=640x480:r=30"]
    )
    kind = "natural" if natural else "mandelbrot"
    made = {
        f"H.264 640x480, gop 250, {kind}": (
            folder / "long.mp4",
            ["-s", "640x480", "-c:v", "libx264", "-g", "250", "-preset", "medium"],
        ),
        f"MPEG-4 ASP (XviD) 320x240, {kind}": (
            folder / "long.avi",
            ["-s", "320x240", "-c:v", "mpeg4", "-vtag", "XVID", "-q:v", "4", "-bf", "1"],
        ),
    }
    for path, encoding in made.values():
        _ffmpeg([*source, "-frames:v", "900", "-an", "-pix_fmt", "yuv420p", *encoding, str(path)])
    return {name: path for name, (path, _) in made.items()}


def _ways(name: str, path: Path, repeats: int) -> list[Row]:
    count = count_frames(path)
    others: dict[str, tuple[Callable[[], object], str]] = {
        "the seed's way: OpenCV, a seek a frame": (lambda: seek(path, range(count)), ">= 10"),
        "OpenCV, sequential": (lambda: sequential(path), ""),
        "torchcodec": (lambda: torchcodec(path, range(count)), ""),
        "ffmpeg, one thread, raw frames": (lambda: raw_frames(path), ">= 1"),
    }
    return [
        faster(
            "extraction",
            f"all frames, {name}",
            lambda: decode(path, range(count), SIZE),
            other,
            theirs,
            count,
            "frames/s",
            goal,
            repeats,
        )
        for other, (theirs, goal) in others.items()
    ]


def _scattered(long: Path, folder: Path, repeats: int) -> list[Row]:
    short = folder / "short.mp4"
    _ffmpeg(["-i", str(long), "-frames:v", "60", "-c:v", "libx264", "-g", "250", str(short)])
    wanted = np.linspace(0, 59, WINDOW).round().astype(int).tolist()
    return [
        faster(
            "extraction",
            f"{WINDOW} scattered frames of a clip of 60",
            lambda: decode(short, wanted, SIZE),
            "the seed's way: OpenCV, a seek a frame",
            lambda: seek(short, wanted),
            WINDOW,
            "frames/s",
            ">= 1",
            repeats,
        )
    ]


def _cores(path: Path, repeats: int) -> list[Row]:
    """Eight files over one process and over every core."""
    cores, files = len(os.sched_getaffinity(0)), 8
    count = count_frames(path)
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        list(pool.map(_whole, [path] * cores))  # imports are not what is measured
        many, one, ratio = paired(
            lambda: list(pool.map(_whole, [path] * files)),
            lambda: [_whole(path) for _ in range(files)],
            max(2, repeats // 2),
        )
    return [
        Row(
            "extraction",
            f"{files} files over {cores} cores",
            files * count / many,
            "one core",
            files * count / one,
            "frames/s",
            ratio,
            f"~ {cores}",
        )
    ]


def _exact(videos: dict[str, Path]) -> list[Row]:
    """Whether chosen frames are those of a full sequential decode by the ffmpeg command, in grey levels."""
    found = []
    for name, path in videos.items():
        every = raw_frames(path, "bicubic+accurate_rnd+bitexact")
        wanted = np.linspace(0, len(every) - 1, 64).round().astype(int)
        worst = np.abs(every[wanted].astype(int) - decode(path, wanted.tolist(), SIZE).astype(int)).max()
        found.append(
            alone(
                "extraction",
                f"largest difference to ffmpeg's frames, {name}",
                float(worst),
                "grey levels",
                "0",
            )
        )
    return found


def _memory(long: Path, folder: Path) -> list[Row]:
    """Peak memory of a process that decodes a window of a video, and of one four times as long."""
    longer = folder / "longer.mp4"
    _ffmpeg(["-stream_loop", "3", "-i", str(long), "-c", "copy", str(longer)])
    peaks = [_peak(path) for path in (long, longer)]
    return [
        Row(
            "extraction",
            "peak memory, a video four times as long",
            peaks[1],
            "the video",
            peaks[0],
            "MiB",
            peaks[0] / peaks[1],
            "~ 1",
        )
    ]


def seek(path: Path, wanted: range | list[int]) -> np.ndarray:
    """The seed's way."""
    import cv2

    video, frames = cv2.VideoCapture(str(path)), []
    for number in wanted:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        frames.append(cv2.cvtColor(cv2.resize(video.read()[1], SIZE[::-1]), cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def sequential(path: Path) -> np.ndarray:
    """One pass with OpenCV."""
    import cv2

    cv2.setNumThreads(1)
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(cv2.cvtColor(cv2.resize(read[1], SIZE[::-1]), cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def torchcodec(path: Path, wanted: range) -> object:
    """All frames with torchcodec, scaled afterwards."""
    import torch
    from torchcodec.decoders import VideoDecoder

    frames = VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(list(wanted)).data
    return torch.nn.functional.interpolate(frames.float(), SIZE, mode="bilinear", antialias=True).byte()


def raw_frames(path: Path, flags: str = "bicubic") -> np.ndarray:
    """The practical limit: the ffmpeg command, one thread, scaled RGB on a pipe."""
    command = [
        "-threads",
        "1",
        "-i",
        str(path),
        "-vf",
        f"scale={SIZE[1]}:{SIZE[0]}:flags={flags}",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    output = subprocess.run([_command(), "-v", "error", *command], stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(output, np.uint8).reshape(-1, *SIZE, 3)


def _whole(path: Path) -> int:
    return len(decode(path, range(count_frames(path)), SIZE))


def _peak(path: Path) -> float:
    code = (
        "import resource, sys; from pathlib import Path; from privadv.data.video import decode; "
        f"decode(Path(sys.argv[1]), range({WINDOW}), {SIZE}); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout) / 1024


def _ffmpeg(arguments: list[str]) -> None:
    subprocess.run([_command(), "-v", "error", "-y", *arguments], check=True)


def _command() -> str:
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
