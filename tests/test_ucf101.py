"""The UCF101 reader on listings as users have them."""

from __future__ import annotations

import pytest

from privadv.data.ucf101 import CLASSES, lists, scan
from privadv.errors import PrivadvError

FOLDER = "ucfTrainTestlist"


def a_set() -> tuple[list[str], dict[str, str]]:
    """Three classes; groups 1 to 7 test, 8 to 25 train, as in the official split 1; two clips a group."""
    names, train, test = [], [], []
    for folder, file in (("Archery", "Archery"), ("HandstandPushups", "HandStandPushups"), ("YoYo", "YoYo")):
        for group in range(1, 26):
            for clip in (1, 2):
                path = f"{folder}/v_{file}_g{group:02d}_c{clip:02d}.avi"
                names.append(f"UCF-101/{path}")
                if group > 7:
                    train.append(f"{path} {CLASSES.index(folder) + 1}\r\n")
                else:
                    # Lists spell the file as the folder is spelt in some copies.
                    test.append(path.replace("HandStand", "Handstand") + "\n")
    classes = "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1))
    texts = {f"{FOLDER}/classInd.txt": classes, f"{FOLDER}/trainlist01.txt": "".join(train),
             f"{FOLDER}/testlist01.txt": "".join(test)}
    return [*names, *texts], texts


def test_videos_find_their_split_and_whole_groups_are_held_out() -> None:
    names, texts = a_set()
    assert set(lists(names)) == set(texts)
    reading = scan(names, texts)
    assert reading.counts == {"videos": 150, "classes": 3, "missing groups": 0, "training": 108, "test": 42}
    assert not reading.found.quarantined and not reading.leaks
    handstands = [source for source in reading.found.sources if "HandStandPushups" in source.name]
    assert len(handstands) == 50 and {source.target for source in handstands} == {36}
    assert CLASSES[36] == "HandstandPushups" and len(CLASSES) == 101 == len(set(CLASSES))
    kept, held = ({source.recording for source in reading.splits[part]} for part in ("train", "val"))
    assert not kept & held and len(kept) + len(held) == 54
    assert len(reading.splits["val"]) == 3 * 8  # the nearest whole groups to a fifth of 36 clips a class
    assert "yoyo_g25" in kept | held
    assert scan(names[::-1], texts) == reading


def test_a_group_on_both_sides_is_a_leak() -> None:
    names, texts = a_set()
    texts[f"{FOLDER}/trainlist01.txt"] += "Archery/v_Archery_g03_c02.avi 3\n"
    assert scan(names, texts).leaks == ("archery_g03 is in training and in test",)


def test_missing_and_foreign_files_are_told() -> None:
    names, texts = a_set()
    names = [name for name in names if "v_YoYo_g09" not in name]
    reading = scan([*names, "UCF-101/YoYo/v_Yoga_g01_c01.avi", "UCF-101/YoYo/v_YoYo_g25_c07.avi",
                    "copy/YoYo/more/v_YoYo_g25_c01.avi", "__MACOSX/YoYo/v_YoYo_g25_c01.avi"], texts)
    assert {bad.source: bad.reason for bad in reading.found.quarantined} == {
        "UCF-101/YoYo/v_Yoga_g01_c01.avi": "its name is not of the form v_Archery_g01_c01",
        "UCF-101/YoYo/v_YoYo_g25_c07.avi": "is in no list of split 1",
        "v_yoyo_g09_c01": "is in a split list, but its file is missing",
        "v_yoyo_g09_c02": "is in a split list, but its file is missing"}
    assert reading.counts["missing groups"] == 1 and reading.found.copies == 1


@pytest.mark.parametrize(("file", "text", "message"), [
    ("classInd.txt", "1 Archery\n", "classInd.txt: line 1 .* is not the numbering"),
    ("trainlist01.txt", "Archery/v_Archery_g08_c01.avi 4\n", "trainlist01.txt: line 1"),
    ("testlist01.txt", "\nArchery/Archery.avi\n", "testlist01.txt: line 2")])
def test_malformed_lists_are_told(file: str, text: str, message: str) -> None:
    names, texts = a_set()
    with pytest.raises(PrivadvError, match=message):
        scan(names, texts | {f"{FOLDER}/{file}": text})


def test_other_mistakes_are_told() -> None:
    names, texts = a_set()
    with pytest.raises(PrivadvError, match="has no split 'pa'"):
        scan(names, texts, "pa")
    with pytest.raises(PrivadvError, match=r"no UCF101 list \(trainlist02"):
        scan(names, texts, "2")
    with pytest.raises(PrivadvError, match="no UCF101 video"):
        scan(texts, texts)
