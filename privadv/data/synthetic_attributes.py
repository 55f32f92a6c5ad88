"""Generated, openly synthetic stand-ins for VISPR and PA-HMDB51: photos and videos of drawn figures.

The formats are those of the real sets, the attributes only borrow their names: each stands for something that
can be seen on the figures (:func:`look`). Every video has a cut, so that what it shows changes inside it.
Nothing here is a photograph of anybody, and no result on it says how a filter does on real people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydantic
from PIL import Image

from privadv.config import Section, Seed
from privadv.console import progress
from privadv.data.pa_hmdb51 import VALUES
from privadv.data.synthetic import ACTIONS, CAST, SyntheticConfig, Video, render
from privadv.data.video import write_h264
from privadv.scratch import whole_folder

PLAYED_AS = dict(zip(ACTIONS, ("walk", "turn", "kick", "push", "shake_hands", "hug", "pick", "punch"), strict=True))
"""Which action of HMDB51 each interaction stands for."""
GENDER = {"bald": 0, "short": 1, "long": 2}
FACE = {"halves": 1, "checks": 2}
NUDITY = {"checks": 1, "halves": 2}
LABELS = {("gender", 1): "a4_gender", ("gender", 2): "a4_gender", ("face", 1): "a10_face_partial",
          ("face", 2): "a9_face_complete", ("nudity", 1): "a12_semi_nudity", ("nudity", 2): "a12_semi_nudity",
          ("skin_color", 1): "a17_color", ("skin_color", 2): "a17_color", ("relationship", 1): "a64_rel_personal"}
SIZES = ((160, 120), (120, 160), (208, 156))


class AttributesConfig(Section):
    """How many photos (train, val, test) and, for each of eight actions, videos to train and annotated ones."""

    seed: Seed = 0
    photos: tuple[pydantic.PositiveInt, pydantic.PositiveInt, pydantic.PositiveInt] = (240, 60, 100)
    train_videos: pydantic.PositiveInt = 6
    annotated_videos: pydantic.PositiveInt = 3
    width: pydantic.PositiveInt = 160
    height: pydantic.PositiveInt = 120
    fps: pydantic.PositiveInt = 15


def generate(config: AttributesConfig, folder: Path) -> None:
    """Write ``folder/vispr`` and ``folder/hmdb51``, with its annotations inside; same config, same pixels and labels.

    Raises:
        PrivadvError: one of them is there already, perhaps the real set, or cannot be made.
    """
    photos, videos = sum(config.photos), len(PLAYED_AS) * (config.train_videos + config.annotated_videos)
    with whole_folder(folder / "vispr") as vispr, whole_folder(folder / "hmdb51") as hmdb51:
        with progress("synthetic photos", photos) as bar:
            for _ in _write_photos(config, vispr):
                bar.advance()
        with progress("synthetic attribute videos", videos) as bar:
            for _ in _write_videos(config, hmdb51):
                bar.advance()


def look(video: Video) -> dict[str, tuple[int, ...]]:
    """The values that the two figures show, by attribute: several where they differ in gender or skin.

    gender: bald 0, short 1, long hair 2. skin_color: the three shades. face and nudity: the pattern of the
    top and of the legs, the higher value of the two figures. relationship: they look alike.
    """
    cast = [CAST[actor] for actor in video.actors]
    return {"gender": tuple(sorted({GENDER[actor.style] for actor in cast})),
            "face": (max(FACE.get(actor.top, 0) for actor in cast),),
            "nudity": (max(NUDITY.get(actor.bottom, 0) for actor in cast),),
            "skin_color": tuple(sorted({actor.skin for actor in cast})),
            "relationship": (int(video.actors[0] == video.actors[1]),)}


def _draw(rng: np.random.Generator, action: int, take: int) -> Video:
    """Half of the pairs are twins: they alone lack the attributes that most pairs of different figures have."""
    one, two = (int(actor) for actor in rng.choice(sorted(CAST), 2))
    return Video((one, one if rng.uniform() < 0.5 else two), action, take)


def _write_photos(config: AttributesConfig, folder: Path) -> Iterator[Path]:
    rng, number = np.random.default_rng([config.seed, 1]), 0
    for split, photos in zip(("train2017", "val2017", "test2017"), config.photos, strict=True):
        images, labels = folder / "images" / split, folder / "annotations" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for _ in range(photos):
            number += 1
            width, height = SIZES[number % len(SIZES)]
            # Takes from 100000 on: no photo is a frame of a video.
            video = _draw(rng, int(rng.integers(len(ACTIONS))), 100000 + number)
            frames = list(render(SyntheticConfig(seed=config.seed, width=width, height=height), video))
            path = images / f"synthetic_{number:08d}.jpg"
            Image.fromarray(frames[len(frames) // 2]).save(path, quality=92)
            facts = {"image_path": f"images/{split}/{path.name}", "labels": _labels(video)}
            (labels / f"{path.stem}.json").write_text(json.dumps(facts))
            yield path


def _labels(video: Video) -> list[str]:
    shown = {LABELS[name, value] for name, values in look(video).items() for value in values if value}
    return sorted(shown) or ["a0_safe"]


def _write_videos(config: AttributesConfig, folder: Path) -> Iterator[Path]:
    """All videos have a line in the split lists: annotated ones test (2), the others train (1)."""
    rng = np.random.default_rng([config.seed, 2])
    scene = SyntheticConfig(seed=config.seed, width=config.width, height=config.height)
    for part in ("splits", "annotations"):
        (folder / part).mkdir()
    for interaction, name in PLAYED_AS.items():
        action, lines, annotated = ACTIONS.index(interaction), [], {}
        (folder / name).mkdir()
        for take in range(config.train_videos + config.annotated_videos):
            shots = [_draw(rng, action, 2 * take + part) for part in (0, 1)]
            frames = [list(render(scene, shot)) for shot in shots]
            path = folder / name / f"synthetic{take:03d}_{name}_f_nm_np2_le_med_0.mp4"
            write_h264(path, frames[0] + frames[1], config.fps)
            tested = take >= config.train_videos
            lines.append(f"{path.name} {1 + tested} \n")
            if tested:
                annotated[path.name] = _tracks(shots, [len(shot) for shot in frames])
            yield path
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(annotated, indent=1))
        for split in (1, 2, 3):
            (folder / "splits" / f"{name}_test_split{split}.txt").write_text("".join(lines))


def _tracks(shots: list[Video], lengths: list[int]) -> dict[str, object]:
    tracks: dict[str, list[list[object]]] = {name: [] for name in VALUES}
    first = 0
    for shot, length in zip(shots, lengths, strict=True):
        for name, values in look(shot).items():
            tracks[name].append([first, first + length - 1, values[0] if len(values) == 1 else list(values)])
        first += length
    return {**tracks, "review": True, "note": "synthetic"}
