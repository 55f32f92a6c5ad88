"""Masking baselines: which pixels a box covers, by hand, and where boxes come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from privadv.data.feeds import ClipArray
from privadv.data.manifest import Clip, Geometry
from privadv.errors import PrivadvError
from privadv.evaluation.masking import Box, Mask, Masking
from privadv.evaluation.rows import parse

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
