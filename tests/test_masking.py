"""Masking baselines: which pixels a box covers, by hand, and where boxes come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from playing import Silent

from privadv.checkpoints import Checkpoints
from privadv.data.feeds import BATCH, ClipArray, open_split
from privadv.data.manifest import SPLITS, Clip, ClipSet, Geometry, Task
from privadv.data.shards import write_shards
from privadv.errors import PrivadvError
from privadv.evaluation.masking import Box, Mask, Masking
from privadv.evaluation.rows import parse
from privadv.stages import render
from privadv.stages.stage import StageContext
from privadv.store import Store

FRAMES = np.random.default_rng(0).integers(1, 256, (2, 6, 8, 3), np.uint8)
BOX: Box = (2.0, 1.0, 5.0, 3.5)
"""Columns 2 to 4, rows 1 to 3."""


def row(name: str) -> Mask:
    found = parse(name)
    assert isinstance(found, Mask)
    return found


@pytest.mark.parametrize("name", ["mask:black", "mask:mean", "mask:blur:2"])
def test_what_a_box_touches_changes_and_nothing_else(name: str) -> None:
    out = row(name).fill_boxes(FRAMES, [[BOX], []])
    changed = (out != FRAMES).any(-1)
    inside = np.zeros((2, 6, 8), bool)
    inside[0, 1:4, 2:5] = True
    assert out.dtype == np.uint8 and not (changed & ~inside).any() and changed[inside].mean() > 0.8


def test_fills_by_hand() -> None:
    inside = FRAMES[0, 1:4, 2:5]
    assert (row("mask:black").fill_boxes(FRAMES, [[BOX], []])[0, 1:4, 2:5] == 0).all()
    mean = row("mask:mean").fill_boxes(FRAMES, [[BOX], []])[0, 1:4, 2:5]
    assert (mean == np.rint(inside.reshape(-1, 3).mean(0))).all()
    flooded = np.array(FRAMES)
    flooded[0, 0] = 255
    blurred = [row("mask:blur:3").fill_boxes(frames, [[BOX], []])[0, 1:4, 2:5] for frames in (FRAMES, flooded)]
    assert (blurred[0] == blurred[1]).all(), "what lies around a box must not run into it"
    assert blurred[0].std() < 0.5 * inside.std()


def test_margins_widen_and_boxes_beyond_the_frame_are_cut() -> None:
    black = row("mask:black")
    wider = black.fill_boxes(FRAMES, [[(2, 2, 4, 4)], []], margin=0.5)
    assert (wider[0, 1:5, 1:5] == 0).all() and wider[0, 5].all() and wider[0, :, 5].all()
    assert (black.fill_boxes(FRAMES, [[(-9, -9, 99, 99)], []])[0] == 0).all()
    assert (black.fill_boxes(FRAMES, [[(20, 20, 30, 30), (-5, -5, -1, -1), (4, 4, 2, 2)], []]) == FRAMES).all()


@pytest.mark.parametrize(
    "name", ["mask", "mask:", "mask:red", "mask:blur", "mask:blur:0", "mask:blur:x", "mask:black:2", "mask:blur:nan"]
)
def test_no_such_mask_is_one_line(name: str) -> None:
    with pytest.raises(PrivadvError, match=r"mask:black.*mask:blur:8"):
        parse(name)


@pytest.fixture
def array(tmp_path: Path) -> ClipArray:
    clips = [Clip(f"c{n}", FRAMES, 0, 0, f"video{n}.avi", (4, 20)) for n in range(2)]
    return ClipArray.write(tmp_path / "clips.u8", clips, 2, Geometry(frames=2, height=6, width=8))


def boxes(path: Path, content: object) -> Masking:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Masking(boxes=str(path), resize=(10, 16))


def test_annotated_boxes_follow_scale_and_crop_and_the_nearest_frame(array: ClipArray, tmp_path: Path) -> None:
    # 16 x 10 pixels before the centre of 8 x 6 was cropped: 4 columns and 2 rows went on each side.
    share = [6 / 16, 3 / 10, 9 / 16, 5.5 / 10]
    masking = boxes(tmp_path / "boxes.json", {"video0.avi": {"0": [share], "13": []}, "video1.avi": {}})
    (out,) = row("mask:black").released(array, masking)
    assert (out[0, 0, 1:4, 2:5] == 0).all() and (out[0, 0] == 0).all(-1).sum() == 9
    assert (out[0, 1] == FRAMES[1]).all() and (out[1] == FRAMES).all()


def detect(frames: np.ndarray) -> list[list[Box]]:
    return [[BOX] for _ in frames]


def detect_nothing(frames: np.ndarray) -> list[list[Box]]:
    return []


def test_a_detector_by_its_import_path(array: ClipArray) -> None:
    (out,) = row("mask:black").released(array, Masking(detector=f"{__name__}:detect"))
    assert (out[:, :, 1:4, 2:5] == 0).all() and (out == 0).all(-1).sum() == 2 * 2 * 9


@pytest.mark.parametrize(("detector", "said"), [
    ("nowhere.at_all:detect", "cannot be imported"), (f"{__name__}:missing", "cannot be imported"),
    (f"{__name__}:BOX", "is no function"), (f"{__name__}:detect_nothing", "gave no list"),
])  # fmt: skip
def test_a_detector_that_is_none_is_one_line(detector: str, said: str, array: ClipArray) -> None:
    with pytest.raises(PrivadvError, match=said):
        list(row("mask:black").released(array, Masking(detector=detector)))


@pytest.mark.parametrize(("content", "said"), [
    ("{", "no boxes"),
    ({"video0.avi": {"0": [[1, 2, 3]]}}, r"no boxes \(video0.avi.0.0"),
    ({"video0.avi": {}}, "no boxes of video1.avi"),
])  # fmt: skip
def test_annotations_that_are_none_are_one_line(content: object, said: str, array: ClipArray, tmp_path: Path) -> None:
    with pytest.raises(PrivadvError, match=said) as caught:
        list(row("mask:black").released(array, boxes(tmp_path / "boxes.json", content)))
    assert "\n" not in str(caught.value)


def test_boxes_come_from_one_place_and_rows_without_them_are_refused(array: ClipArray) -> None:
    for wrong in ({}, {"boxes": "a.json", "detector": "a:b"}, {"detector": "no path"}):
        with pytest.raises(PrivadvError):
            Masking.parse(wrong, "masking")
    with pytest.raises(PrivadvError, match=r"set render\.masking"):
        list(row("mask:black").released(array, None))
    with pytest.raises(PrivadvError, match=r"set render\.masking"):
        row("mask:black")(torch.zeros(1), torch.zeros(1), torch.Generator())
    with pytest.raises(PrivadvError, match="cannot be read"):
        Masking(boxes="/nowhere.json").find()


def stored(store: Store, kind: str, frames: int, count: int) -> ClipSet:
    """Clip ``n`` of every split is of the video ``kind`` ``n``, no two frames alike."""
    rng, splits, geometry = np.random.default_rng(2), {}, Geometry(frames=frames, height=6, width=8)
    for split in SPLITS:
        clips = [
            Clip(f"{split}{n}", rng.integers(1, 256, geometry.shape, np.uint8), n % 2, n % 3, f"{kind}{n}", tuple(range(frames)))
            for n in range(count)
        ]
        splits[split] = write_shards(store, clips, "raw")
    return ClipSet(dataset="made", synthetic=True, row="raw", geometry=geometry, encoding="raw", splits=splits,
                   target=Task(name="action", classes=("a", "b")), budget=Task(name="pair", classes=("x", "y", "z")))


def test_a_masked_row_is_rendered_once_each_clip_by_the_boxes_of_its_own_video(store: Store, tmp_path: Path) -> None:
    videos, photos = stored(store, "video", 2, BATCH + 1), stored(store, "photo", 1, 3)
    # Of video n one column of the first frame is to go, of photo n one row.
    column = {f"video{n}": {0: [[n % 8 / 8, 0, (n % 8 + 1) / 8, 1]], 1: []} for n in range(BATCH + 1)}
    line = {f"photo{n}": {0: [[0, n / 6, 1, (n + 1) / 6]]} for n in range(3)}
    masking = boxes(tmp_path / "boxes.json", column | line).model_copy(update={"resize": (6, 8)})
    around = StageContext(store, cast(Any, Silent()), Checkpoints(store, "masking"), workers=1)
    both = videos.model_copy(update={"private": photos})
    with pytest.raises(PrivadvError, match=r"set render\.masking"):
        render.run(render.Config(), "mask:black", both, 0, around)
    made = render.run(render.Config(draws=3, masking=masking), "mask:black", both, 0, around)
    assert made.row == made.privacy.row == "mask:black" and made.metrics["psnr"] > 0
    for raw, masked in ((videos, made), (photos, made.privacy)):
        for split in SPLITS:
            before, after = (open_split(store, one, split, tmp_path / f"{one.row[:4]}{raw is photos}") for one in (raw, masked))
            wanted = np.stack(list(before.frames))
            for n, clip in enumerate(wanted):
                if raw is photos:
                    clip[0, n] = 0
                else:
                    clip[0, :, n % 8] = 0
            assert np.array_equal(np.stack(list(after.frames)), wanted)
            assert after.ids == before.ids and torch.equal(after.budget, before.budget)
