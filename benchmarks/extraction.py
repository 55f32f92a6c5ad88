"""Frames out of video: one sequential pass with PyAV beside OpenCV, seeking and sequential, decord, and the ffmpeg command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.measure import Cost, Row, Work, compared, cost, paired
from benchmarks.processes import apart
from privadv.console import progress
from privadv.data.video import count_frames, decode
from privadv.data.workers import in_order, worker_pool

SIZE = (120, 160)
FRAMES, SHORT, SCATTERED = 900, 60, 16
SEEK_STEP = 15
MANY, LENGTHS = 8, (1, 4, 16)
EXACT = "flags=bicubic+accurate_rnd+bitexact:in_v_chr_pos=128:in_h_chr_pos=0"
"""Rounding as ours, and 4:2:0 colours where H.264 has them by default and newer releases look for them: between two rows, on the
left of two columns. FFmpeg 5.1 takes them to lie in the middle of both, which moves colours by half a pixel."""
DECODERS = Path("build/decoders/bin/python")
"""An environment that holds OpenCV and decord, and nothing of ours."""
OTHERS = {
    "OpenCV, a seek a frame": ("opencv_seek", "opencv-python-headless"),
    "OpenCV, sequential": ("opencv_sequential", "opencv-python-headless"),
    "decord": ("decord", "decord"),
}
"""Ways of ``decoders.py``, and the package that each needs."""


def versions() -> list[str]:
    """What reads video beside us, and the FFmpeg within ours."""
    found = [f"FFmpeg {av.ffmpeg_version_info} in av"]
    if shutil.which("ffmpeg"):
        said = subprocess.run(["ffmpeg", "-version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        found.append(f"ffmpeg command {said.split()[2]}")
    return [*found, *(f"{name} {number}" for name, number in installed().items())]


def installed() -> dict[str, str]:
    """The other readers' packages, with their versions."""
    if not DECODERS.exists():
        return {}
    command = [str(DECODERS), str(Path(__file__).with_name("decoders.py"))]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def rows(repetitions: int) -> list[Row]:
    """Every way beside ours on a long H.264 and a long XviD file and scattered frames of a short one; many files on all cores,
    memory against a video's length, and equality to ffmpeg.
    """
    if shutil.which("ffmpeg") is None:
        return [Row("all frames", "CPU ms/frame", note="not measured: ffmpeg is not installed")]
    with tempfile.TemporaryDirectory(prefix="privadv-bench-") as folder:
        videos = make(Path(folder))
        found: list[Row] = []
        with progress("extraction", len(videos)) as bar:
            for name, path in videos.items():
                found += _ways(name, path, repetitions)
                bar.advance(1)
        name, path = next(iter(videos.items()))
        found += [*_processes(name, path, repetitions), *_lengths(name, path)]
        return [*found, *(row for name, path in videos.items() for row in _exact(name, path))]


def make(folder: Path) -> dict[str, Path]:
    """The videos, out of a natural one: PRIVADV_REFERENCE_DATA/video/*.mp4, else ffmpeg's generator (said in the name)."""
    reference = os.environ.get("PRIVADV_REFERENCE_DATA")
    natural = sorted(Path(reference, "video").glob("*.mp4")) if reference else []
    generated = ["-f", "lavfi", "-i", "mandelbrot=s=640x480:r=30"]
    source = ["-stream_loop", "-1", "-i", str(natural[0])] if natural else generated
    kind = "natural" if natural else "mandelbrot"
    h264 = ["-s", "640x480", "-c:v", "libx264", "-g", "250", "-preset", "medium"]
    xvid = ["-s", "320x240", "-c:v", "mpeg4", "-vtag", "XVID", "-q:v", "4", "-bf", "1"]
    made = {
        f"H.264 640x480, gop 250, {kind}": ("long.mp4", FRAMES, h264),
        f"XviD 320x240, {kind}": ("long.avi", FRAMES, xvid),
        f"H.264 640x480, {SHORT} frames, {kind}": ("short.mp4", SHORT, h264),
    }
    for name, count, encoding in made.values():
        wanted = ["-frames:v", str(count), "-an", "-pix_fmt", "yuv420p", *encoding]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *wanted, str(folder / name)], check=True)
    return {title: folder / name for title, (name, _, _) in made.items()}


def _ways(name: str, path: Path, repetitions: int) -> list[Row]:
    count, there = count_frames(path), installed()
    short = count == SHORT
    wanted = scattered(count) if short else list(range(count))
    what = f"{SCATTERED} scattered frames of {name}" if short else f"all frames of {name}"

    def ours() -> Cost:
        return cost(lambda: (count_frames(path), decode(path, wanted, SIZE))).over(len(wanted))

    def beside(other: str, theirs: Callable[[], Cost]) -> list[Row]:
        return compared(what, other, paired(ours, theirs, repetitions), "ms/frame", 1000)

    found: list[Row] = []
    for other, (way, package) in OTHERS.items():
        numbers = wanted[::SEEK_STEP] if way == "opencv_seek" and not short else wanted
        if package not in there:
            found.append(_unmeasured(what, other, f"{package} is not installed in {DECODERS.parents[1]}"))
            continue
        try:
            found += beside(other, partial(decoded_by, path, way, numbers))
        except subprocess.CalledProcessError:  # it has said on stderr what it could not read
            found.append(_unmeasured(what, other, f"{package} did not read all of them"))
    return [*found, *beside("ffmpeg command", lambda: cost(lambda: scaled_away(path, wanted if short else [])).over(len(wanted)))]


def _unmeasured(what: str, other: str, why: str) -> Row:
    return Row(what, "CPU ms/frame", other=other, note=f"not measured: {why}")


def scattered(count: int) -> list[int]:
    """The same frames each time, at uneven distances."""
    return sorted(np.random.default_rng(0).permutation(count)[:SCATTERED].tolist())


def decoded_by(path: Path, way: str, wanted: list[int]) -> Cost:
    """The cost of a frame, imports not counted."""
    command = [str(DECODERS), str(Path(__file__).with_name("decoders.py")), str(path), way]
    run = subprocess.run(command, input=json.dumps(wanted), stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(run.stdout)
    return Cost(found["cpu"], found["wall"]).over(len(wanted))


def exact_frames(path: Path) -> np.ndarray:
    """All frames as the ffmpeg command scales them with our rounding, RGB (N, H, W, 3)."""
    raw = subprocess.run(_ffmpeg(path, EXACT, [], "-"), stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *SIZE, 3)


def scaled_away(path: Path, wanted: list[int]) -> None:
    """The practical limit: the ffmpeg command, one thread, with all frames, or the ``wanted`` ones, written nowhere."""
    subprocess.run(_ffmpeg(path, "flags=bicubic", wanted, os.devnull), check=True)


def _ffmpeg(path: Path, options: str, wanted: list[int], output: str) -> list[str]:
    equal = "+".join(rf"eq(n\,{number})" for number in wanted)
    filters = [*([f"select={equal}"] if wanted else []), f"scale={SIZE[1]}:{SIZE[0]}:{options}"]
    return ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-filter_threads", "1", "-i", str(path), "-vf", ",".join(filters),
            "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", output]


def _processes(name: str, path: Path, repetitions: int) -> list[Row]:
    """The clock's time of many files on all cores, beside that of one worker process; as many times less would be linear."""
    cores, files = len(os.sched_getaffinity(0)), [path] * MANY
    whole = partial(decode, wanted=range(FRAMES), size=SIZE)

    def through(pool: ProcessPoolExecutor) -> Work:
        return lambda: [len(frames) for _, frames in in_order(pool, whole, files, 2 * cores)]

    with worker_pool(1) as one, worker_pool(cores) as every:
        pairs = paired(through(every), through(one), repetitions)
    what = f"{MANY} files of {name}, {cores} processes"
    _, wall = compared(what, "one process", pairs, "ms/frame", 1000 / (MANY * FRAMES))
    return [wall]  # a worker's CPU time is known only once it has ended


def _lengths(name: str, path: Path) -> list[Row]:
    """Peak memory where as many frames come out of ever longer videos."""
    found = []
    for times in LENGTHS:
        longer = path.with_stem(f"{path.stem}-{times}")
        again = ["-stream_loop", str(times - 1), "-i", str(path), "-c", "copy", str(longer)]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *again], check=True)
        count = count_frames(longer)
        spent = apart(decode, longer, scattered(count), SIZE)
        found.append(Row(f"peak memory, {SCATTERED} of {count:,} frames of {name}", "MB", spent.memory))
    return found


def _exact(name: str, path: Path) -> list[Row]:
    """Whether chosen frames are those of a full sequential decode by the ffmpeg command, and not their neighbours."""
    every = exact_frames(path).astype(int)
    wanted = np.linspace(0, len(every) - 1, SHORT).round().astype(int).tolist()
    right, worst = 0, 0
    for number, frame in zip(wanted, decode(path, wanted, SIZE).astype(int), strict=True):
        near = {other: np.abs(every[other] - frame) for other in range(max(0, number - 1), min(len(every), number + 2))}
        right += near[number].sum() == min(difference.sum() for difference in near.values())
        worst = max(worst, near[number].max())
    return [
        Row(f"frames nearest to ffmpeg's of that number, {name}", f"of {SHORT}", float(right)),
        Row(f"largest difference of a pixel to ffmpeg's, {name}", "grey levels", float(worst)),
    ]
