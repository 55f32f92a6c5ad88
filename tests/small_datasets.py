"""Small stand-ins of every dataset, in exactly its layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from privadv.data.ucf101 import CLASSES

HEIGHT, WIDTH, FRAMES = 24, 32, 10
LABELS = ("a4_gender", "a9_face_complete", "a12_semi_nudity", "a17_color", "a64_rel_personal")


def film(action: int, shade: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Action 0 grows brighter and 1 darker; ``shade`` 0 is red on the left, 1 blue on the right."""
    frames = rng.integers(90, 110, (FRAMES, HEIGHT, WIDTH, 3))
    frames += (np.arange(FRAMES) * (8 if action == 0 else -8))[:, None, None, None]
    frames[:, :, : WIDTH // 2, 0] += 60 * (shade == 0)
    frames[:, :, WIDTH // 2 :, 2] += 60 * (shade == 1)
    return list(frames.astype(np.uint8))


def write_avi(path: Path, frames: Sequence[np.ndarray]) -> None:
    """MPEG-4 in AVI, as HMDB51 and UCF101 have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_sbu(root: Path) -> None:
    """Two pairs, two actions, five takes: doubly nested frame folders, and re-encoded files."""
    rng = np.random.default_rng(0)
    for pair, actors in enumerate((("s01s02", "s02s01"), ("s03s04", "s04s03"))):
        for action in (0, 1):
            for take in range(1, 6):
                folder, frames = actors[take % 2], film(action, pair, rng)
                if take < 4:
                    place = root / folder / folder / f"{action + 1:02d}" / f"{take:03d}"
                    place.mkdir(parents=True)
                    for number, frame in enumerate(frames, 55):
                        Image.fromarray(frame).save(place / f"rgb_{number:06d}.png")
                else:
                    write_avi(root / f"{folder}_{action + 1:02d}_{take:03d}.avi", frames)


def make_hmdb51(root: Path, annotated: bool) -> None:
    """Two actions, eight films each, of which the last two test; odd names, trailing blanks in the lists."""
    rng = np.random.default_rng(1)
    for number, action in enumerate(("hug", "walk")):
        videos = [f"[film]_{film}!_{action}_f_cm_np1_le_bad_0.avi" for film in range(8)]
        for video in videos:
            write_avi(root / action / action / video, film(number, int(rng.integers(2)), rng))
        lines = "".join(f"{video} {1 + (place > 5)} \n" for place, video in enumerate(videos))
        write_text(root / "splits" / f"{action}_test_split1.txt", lines)
        if annotated:
            half = FRAMES // 2
            tracks = {"skin_color": [[0, half - 1, 1], [half, FRAMES - 1, 0]], "face": [[2, FRAMES - 1, 1 - number]],
                      "gender": [[0, half, [1, 2]], [half + 1, FRAMES - 1, 0]], "nudity": [[0, FRAMES - 1, number]],
                      "relationship": [[0, half, 0], [half + 1, FRAMES - 1, 1]]}
            write_text(root / "annotations" / f"{action}.json",
                       json.dumps({video: {**tracks, "review": True, "note": ""} for video in videos[6:]}))


def make_ucf101(root: Path) -> None:
    """Two classes, eight groups each, of which the first two test."""
    rng, train, test = np.random.default_rng(2), [], []
    for number, name in enumerate(("Archery", "YoYo")):
        for group in range(1, 9):
            path = f"{name}/v_{name}_g{group:02d}_c01.avi"
            write_avi(root / "UCF-101" / path, film(number, int(rng.integers(2)), rng))
            (test if group < 3 else train).append(path)
    lists = root / "ucfTrainTestlist"
    write_text(lists / "classInd.txt", "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1)))
    write_text(lists / "trainlist01.txt", "".join(f"{path} {CLASSES.index(path.split('/')[0]) + 1}\n" for path in train))
    write_text(lists / "testlist01.txt", "".join(f"{path}\n" for path in test))


def make_vispr(root: Path) -> None:
    """Photos of several sizes and colour modes: an attribute is a bright stripe."""
    rng = np.random.default_rng(3)
    for split, count in (("train2017", 24), ("val2017", 10), ("test2017", 12)):
        for number in range(count):
            shown = rng.random(5) < (0.8, 0.6, 0.5, 0.7, 0.3)
            picture = rng.integers(60, 120, (30, 40 + number % 3, 3)).astype(np.uint8)
            for stripe in np.flatnonzero(shown):
                picture[6 * stripe : 6 * stripe + 6] += np.uint8(120)
            image = Image.fromarray(picture).convert(("RGB", "L", "CMYK")[number % 3])
            name = f"2017_{split[:2]}{number:06d}"
            place = root / "images" / split / f"{name}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            image.save(place)
            facts = {"image_path": f"images/{split}/{name}.jpg",
                     "labels": [LABELS[stripe] for stripe in np.flatnonzero(shown)] or ["a0_safe"]}
            write_text(root / "annotations" / split / f"{name}.json", json.dumps(facts))


def make_all(folder: Path) -> dict[str, str]:
    """Every dataset below ``folder``: its root by name."""
    make_sbu(folder / "sbu")
    make_hmdb51(folder / "hmdb51", annotated=False)
    make_hmdb51(folder / "hmdb51_pa", annotated=True)
    make_ucf101(folder / "ucf101")
    make_vispr(folder / "vispr")
    return {path.name: str(path) for path in folder.iterdir()}


def selections(roots: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The extraction of every combination of datasets that is played; every dataset stands in one."""
    photos = {"dataset": "vispr", "root": roots["vispr"]}
    frames = {"dataset": "pa_hmdb51", "root": roots["hmdb51_pa"], "clips": 4, "stride": 2}
    return {
        "sbu": {"dataset": "sbu", "root": roots["sbu"]},
        "hmdb51": {"dataset": "hmdb51", "root": roots["hmdb51"], "split": "1",
                   "private": photos | {"dataset": "vispr7"}},
        "ucf101": {"dataset": "ucf101", "root": roots["ucf101"], "private": photos},
        "pa_hmdb51": {"dataset": "hmdb51", "root": roots["hmdb51_pa"], "split": "pa", "private": {**photos, "test": frames}},
        "vispr68": {"dataset": "sbu", "root": roots["sbu"], "private": photos | {"dataset": "vispr68"}},
    }
