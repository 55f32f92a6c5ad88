"""OpenCV's ways to read a video, in an environment of its own: `python benchmarks/opencv.py VIDEO seek|sequential STEP`.

Prints {"cpu": s, "wall": s, "frames": n, "version": ...} as JSON. Needs nothing of the project.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import cv2  # pyright: ignore[reportMissingImports]

SIZE = (160, 120)


def seek(path: str, step: int) -> int:
    """The seed's way: every ``step``-th frame, each by a seek of its own."""
    video = cv2.VideoCapture(path)
    wanted = range(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)), step)
    for number in wanted:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        _scaled(video.read()[1])
    return len(wanted)


def sequential(path: str, step: int) -> int:
    """One pass; every ``step``-th frame is converted."""
    video, count = cv2.VideoCapture(path), 0
    while (read := video.read())[0]:
        if count % step == 0:
            _scaled(read[1])
        count += 1
    return -(-count // step)


def _scaled(frame: Any) -> Any:
    return cv2.cvtColor(cv2.resize(frame, SIZE), cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    cpu, wall = time.process_time(), time.perf_counter()
    frames = {"seek": seek, "sequential": sequential}[sys.argv[2]](sys.argv[1], int(sys.argv[3]))
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps({**spent, "frames": frames, "version": cv2.__version__}))
