"""OpenCV's and decord's ways to read a video, in an environment of their own: `python benchmarks/decoders.py VIDEO WAY`.

On its input stand the numbers of the wanted frames, ascending, as JSON; it prints {"cpu": s, "wall": s}, imports not counted.
Without arguments it prints {"opencv-python-headless": version, "decord": version}, as far as they are installed. Needs nothing of
the project.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

SIZE = (160, 120)
PACKAGES = ("opencv-python-headless", "decord")


def opencv_seek(cv2: Any, path: str, wanted: list[int]) -> int:
    """The seed's way: each frame by a seek of its own."""
    video = _opened(cv2, path)
    for number in wanted:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        _scaled(cv2, video.read()[1])
    return len(wanted)


def opencv_sequential(cv2: Any, path: str, wanted: list[int]) -> int:
    """One pass, to the end; the wanted frames are converted."""
    video, numbers, count, found = _opened(cv2, path), set(wanted), 0, 0
    while video.grab():
        if count in numbers:
            _scaled(cv2, video.retrieve()[1])
            found += 1
        count += 1
    return found


def decord_batch(decord: Any, path: str, wanted: list[int]) -> int:
    """All of them in one call, as decord's readme shows it."""
    video = decord.VideoReader(path, ctx=decord.cpu(0), width=SIZE[0], height=SIZE[1], num_threads=1)
    return len(video.get_batch(wanted).asnumpy())


def _opened(cv2: Any, path: str) -> Any:
    """On one thread, as all others are: cv2.setNumThreads does not reach the decoder."""
    return cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _scaled(cv2: Any, frame: Any) -> Any:
    return cv2.cvtColor(cv2.resize(frame, SIZE), cv2.COLOR_BGR2RGB)


WAYS = {
    "opencv_seek": ("cv2", opencv_seek),
    "opencv_sequential": ("cv2", opencv_sequential),
    "decord": ("decord", decord_batch),
}


def installed() -> dict[str, str]:
    """The version of each package that is there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def measure(path: str, way: str, wanted: list[int]) -> dict[str, float]:
    """What reading costs, all frames together.

    Raises:
        RuntimeError: other than the wanted frames were read.
    """
    module, read = WAYS[way]
    library = importlib.import_module(module)
    if module == "cv2":
        library.setNumThreads(1)
    read(library, path, wanted[:1])  # tables and buffers of a first use
    cpu, wall = time.process_time(), time.perf_counter()
    count = read(library, path, wanted)
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    if count != len(wanted):
        raise RuntimeError(f"{path}: {way} read {count} of {len(wanted)} frames")
    return spent


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], json.load(sys.stdin)) if sys.argv[1:] else installed()))
