"""Verification of small copies of every dataset, whole and damaged, and its command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from privadv.data.__main__ import main
from privadv.data.datasets import Dataset
from privadv.data.manifest import Found, Source, Task
from privadv.data.pa_hmdb51 import VALUES
from privadv.data.reading import Reading
from privadv.data.ucf101 import CLASSES
from privadv.data.verify import Verification, verify
from privadv.data.video import write_h264
from privadv.errors import PrivadvError

IMAGE = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)


def write_video(path: Path, frames: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h264(path, [IMAGE] * frames, fps=15)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def facts(verification: Verification) -> dict[str, tuple[int, int | None]]:
    return {row.fact: (row.found, row.expected) for row in verification.rows}


@pytest.fixture
def hmdb51(tmp_path: Path) -> Path:
    """Six films of two actions, two of them in PA-HMDB51 (one annotated beyond its end)."""
    for action in ("hug", "sword"):
        videos = [f"film{number}_[x]_{action}_f_cm_np1_le_bad_0.avi" for number in range(6)]
        for video in videos:
            write_video(tmp_path / action / action / video)
        lines = "".join(f"{video} {1 + (number > 3)} \n" for number, video in enumerate(videos))
        write_text(tmp_path / "splits" / f"{action}_test_split1.txt", lines)
        last = 9 if action == "hug" else 11
        tracks = {name: [[0, last, 1]] for name in VALUES} | {"gender": [[3, last, [1, 2]]], "review": False}
        write_text(tmp_path / "annotations" / f"{action}.json", json.dumps({videos[0]: tracks}))
    return tmp_path


def test_hmdb51_without_the_annotated_videos_is_sound(hmdb51: Path) -> None:
    found = verify("hmdb51", str(hmdb51), partial_copy=True)
    assert found.sound and facts(found)["frames"] == (120, None)
    assert facts(found)["training"] == (10, None) and facts(found)["test"] == (2, None)


def test_annotated_videos_in_training_are_wrong(hmdb51: Path) -> None:
    found = verify("hmdb51", str(hmdb51), split="1", partial_copy=True, open_files=False)
    assert not found.sound and facts(found)["leaks between splits"] == (2, 0)
    assert found.faults[0] == "film0_[x]_hug_f_cm_np1_le_bad_0 of PA-HMDB51 is in training"


def test_a_part_of_a_dataset_is_wrong_unless_said(hmdb51: Path) -> None:
    found = verify("hmdb51", str(hmdb51), open_files=False)
    assert not found.sound and facts(found)["videos"] == (12, 6766)


def test_missing_and_unreadable_videos_are_wrong(hmdb51: Path) -> None:
    videos = sorted((hmdb51 / "hug" / "hug").iterdir())
    videos[1].write_bytes(videos[1].read_bytes()[:-400])
    videos[2].unlink()
    found = verify("hmdb51", str(hmdb51), partial_copy=True)
    assert not found.sound and facts(found)["unusable or missing files"] == (2, 0)
    assert found.faults[0].startswith("hug/film2_[x]_hug") and "missing" in found.faults[0]
    assert found.faults[1].startswith("hug/hug/film1_[x]_hug")


def test_pa_hmdb51_says_which_videos_end_before_their_annotation(hmdb51: Path) -> None:
    found = verify("pa_hmdb51", str(hmdb51), partial_copy=True)
    assert found.sound and facts(found)["annotated frames"] == (22, None) and facts(found)["test"] == (2, None)
    short = "sword/sword/film0_[x]_sword_f_cm_np1_le_bad_0.avi has 10 frames, 12 are annotated"
    assert short in found.notes and "2 videos not reviewed" in found.notes


def test_photos_of_every_kind_are_readable_and_damaged_ones_wrong(tmp_path: Path) -> None:
    kinds = {"rgb.jpg": Image.fromarray(IMAGE), "gray.jpg": Image.fromarray(IMAGE[..., 0]),
             "cmyk.jpg": Image.fromarray(IMAGE).convert("CMYK"), "rgba.png": Image.fromarray(IMAGE).convert("RGBA"),
             "palette.png": Image.fromarray(IMAGE).convert("P"), "large.JPG": Image.new("RGB", (901, 33))}
    for split in ("train", "val", "test"):
        for name, image in kinds.items():
            path = tmp_path / "images" / f"{split}2017" / f"{split}_{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
            labels = {"image_path": f"images/{split}2017/{path.name}", "labels": []}
            write_text(tmp_path / "annotations" / f"{split}2017" / f"{path.stem}.json", json.dumps(labels))
    # A PNG by another name.
    kinds["rgba.png"].save(tmp_path / "images" / "val2017" / "val_gray.jpg", format="PNG")
    assert verify("vispr", str(tmp_path), partial_copy=True).sound
    (tmp_path / "images" / "val2017" / "val_cmyk.jpg").write_bytes(b"no image")
    found = verify("vispr7", str(tmp_path), partial_copy=True)
    assert not found.sound and len(found.faults) == 1
    assert found.faults[0].startswith("images/val2017/val_cmyk: holds val_cmyk.jpg, which is no whole image")


def test_ucf101_groups_on_both_sides_are_wrong(tmp_path: Path) -> None:
    for group in (1, 8, 9):
        write_video(tmp_path / "UCF-101" / "HandstandPushups" / f"v_HandStandPushups_g{group:02d}_c01.avi")
    train = "".join(f"HandstandPushups/v_HandStandPushups_g{group:02d}_c01.avi 37\n" for group in (8, 9))
    test = "HandstandPushups/v_HandStandPushups_g01_c01.avi\n"
    write_text(tmp_path / "classInd.txt", "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1)))
    write_text(tmp_path / "trainlist01.txt", train)
    write_text(tmp_path / "testlist01.txt", test)
    assert verify("ucf101", str(tmp_path), partial_copy=True).sound
    write_text(tmp_path / "testlist01.txt", test + "HandstandPushups/v_HandStandPushups_g08_c01.avi\n")
    found = verify("ucf101", str(tmp_path), partial_copy=True)
    assert not found.sound and found.faults == ("handstandpushups_g08 is in training and in test",)


def test_sbu_missing_cells_are_told(tmp_path: Path) -> None:
    for action in (1, 2, 3, 4, 6, 7):
        folder = tmp_path / "SBU" / "s02s03" / "s02s03" / f"{action:02d}" / "001"
        folder.mkdir(parents=True)
        for number in (55, 56):
            Image.fromarray(IMAGE).save(folder / f"rgb_{number:06d}.png")
    found = verify("sbu", str(tmp_path))
    assert facts(found)["sequences"] == (6, 282) and facts(found)["frames"] == (12, 6822)
    assert facts(found)["missing cells"] == (1, 0)
    assert found.notes == ("nobody has recorded s02s03_05", "no sequence of s02s03_08")
    with pytest.raises(PrivadvError, match="SBU has no numbered splits"):
        verify("sbu", str(tmp_path), split="1")


def test_the_command_exits_with_what_it_found(hmdb51: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "privadv.data", "verify", *arguments], text=True,
                              capture_output=True, check=False)

    whole = command("pa_hmdb51", str(hmdb51), "--partial", "--workers", "2")
    assert whole.returncode == 0 and "everything is as it should be" in whole.stdout
    part = command("hmdb51", str(hmdb51), "--listing-only")
    assert part.returncode == 1 and "WRONG" in part.stdout
    nowhere = command("hmdb51", str(hmdb51 / "nowhere"))
    assert nowhere.returncode == 2 and nowhere.stderr.startswith("privadv: data: root ")
    assert "Traceback" not in nowhere.stderr + whole.stderr + part.stderr


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
@pytest.mark.parametrize("call", [["verify", "hmdb51", "here"], ["upload", "here", "s3://bucket/it"]], ids=["verify", "upload"])
def test_nobody_is_no_number_of_workers(call: list[str], workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*call, "--workers", workers])
    assert left.value.code == 2 and f"--workers: '{workers}' is no number of workers: write 1 or more" in capsys.readouterr().err


TASK, MANY = Task(name="action", classes=("a", "b")), Task(name="who", classes=("x", "y"), multi_label=True)


@pytest.mark.parametrize(("splits", "said"), [
    ({"train": ["v1"], "validation": ["v2"], "test": ["v3"]}, "the splits train, validation, test: they are train, val, test"),
    ({"train": ["v1"], "val": [("v2", 2, (0, 1))], "test": []}, r"v2: its reader gives the action 2, .* \(they count from 0"),
    ({"train": [("v1", -1, (0, 1))], "val": [], "test": []}, "v1: its reader gives the action -1"),
    ({"train": ["v1"], "val": [], "test": [("v3", 0, (0, 2))]}, r"v3: its reader gives the who \(0, 2\)"),
    ({"train": [("v1", 0, 1)], "val": [], "test": []}, "v1: its reader gives the who 1"),
])
def test_what_a_reader_must_not_give_is_refused(splits: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(PrivadvError, match=said):
        a_reader(splits).checked(cast(Any, None), "", {}, 0)


def test_a_file_in_two_splits_is_a_leak_whatever_its_reader_says() -> None:
    found = a_reader({"train": ["v1", "v2"], "val": ["v3"], "test": ["v2"]}).checked(cast(Any, None), "", {}, 0)
    assert found.leaks == ("v2 is in train and in test",)


def a_reader(splits: dict[str, list[Any]]) -> Dataset:
    """Of videos that have, unless said, action 0 and show y."""
    facts = {split: [one if isinstance(one, tuple) else (one, 0, (0, 1)) for one in ones] for split, ones in splits.items()}
    sources = {
        split: [Source(name, name, (name,), target, budget) for name, target, budget in ones] for split, ones in facts.items()
    }
    reading = Reading(Found(tuple(one for ones in sources.values() for one in ones), ()), sources, {}, {})
    return Dataset(TASK, MANY, lambda *_: reading)
