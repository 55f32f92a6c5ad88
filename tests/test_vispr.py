"""The VISPR reader on listings as users have them, and on the real lists and attributes."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from privadv.data.vispr import ALL, FIVE, LABELS, SEVEN, label_files, scan, task, vector
from privadv.errors import PrivadvError


def a_set(**labels: list[str]) -> tuple[list[str], dict[str, str]]:
    """Photos ``train_a=[...]`` with their label files."""
    names, texts = [], {}
    for key, shown in labels.items():
        split, _, photo = key.partition("_")
        texts[f"VISPR/annotations/{split}2017/{photo}.json"] = json.dumps(
            {"image_path": f"images/{split}2017/{photo}.jpg", "labels": shown})
        names.append(f"VISPR/images/{split}2017/{photo}.jpg")
    return [*names, *texts, "VISPR/attributes.tsv"], texts


def test_photos_become_sources_of_one_image_with_a_label_vector() -> None:
    names, texts = a_set(train_1=["a4_gender", "a10_face_partial", "a0_safe"], val_2=["a64_rel_personal"],
                         test_3=["a17_color", "a9_face_complete", "a12_semi_nudity"], test_4=["a79_address_home_partial"])
    assert set(label_files(names)) == set(texts)
    reading = scan(names, texts)
    found = {source.id: source for source in reading.found.sources}
    assert {name: source.budget for name, source in found.items()} == {
        "train2017/1": (1, 1, 0, 0, 0), "val2017/2": (0, 0, 0, 0, 1), "test2017/3": (0, 1, 1, 1, 0),
        "test2017/4": (0, 0, 0, 0, 0)}
    assert [source.id for source in reading.splits["test"]] == ["test2017/3", "test2017/4"]
    assert found["val2017/2"].files == ("VISPR/images/val2017/2.jpg",) and found["val2017/2"].is_folder
    assert reading.counts == {"training": 1, "validation": 1, "test": 2}
    assert reading.notes == ("1 photos show none of the 5 attributes: all zeros",)
    assert task(FIVE).classes == ("gender", "face", "nudity", "skin color", "relationship") and task(FIVE).multi_label


def test_the_index_comes_from_the_table_and_not_from_the_id() -> None:
    assert vector(["a16_race", "a104_license_plate_partial"], ALL) == (*[0] * 14, 1, *[0] * 52, 1)
    assert vector(["a17_color", "a65_rel_social"], SEVEN) == (1, 0, 0, 0, 0, 0, 1)
    assert vector([], FIVE) == (0, 0, 0, 0, 0)


def test_what_cannot_be_used_is_told() -> None:
    names, texts = a_set(train_1=["a4_gender"], train_2=[], train_3=[], train_4=["a5000_new"], train_5=[], train_6=[],
                         train_7=[])
    where = "VISPR/annotations/train2017"
    texts |= {f"{where}/2.json": "no json", f"{where}/3.json": '{"image_path": "images/train2017/9.jpg", "labels": []}',
              f"{where}/7.json": '{"image_path": "images/train2017/7.jpg", "labels": [["a4_gender"]]}'}
    names.remove("VISPR/images/train2017/5.jpg")
    del texts[f"{where}/6.json"]
    reading = scan(names, texts)
    assert [source.id for source in reading.found.sources] == ["train2017/1"]
    assert {bad.source: bad.reason for bad in reading.found.quarantined} == {
        "VISPR/images/train2017/2.jpg": "its label file is not {image_path, labels}",
        "VISPR/images/train2017/3.jpg": "its label file speaks of another photo (images/train2017/9.jpg)",
        "VISPR/images/train2017/4.jpg": "its label 'a5000_new' is no attribute of VISPR",
        f"{where}/5.json": "is a label file without its photo",
        "VISPR/images/train2017/6.jpg": "has no label file",
        "VISPR/images/train2017/7.jpg": "its label ['a4_gender'] is no attribute of VISPR"}
    with pytest.raises(PrivadvError, match="no VISPR photo"):
        scan(["holiday.jpg"], {})


def test_a_photo_of_two_splits_is_a_leak_and_a_copy_is_none() -> None:
    names, texts = a_set(train_1=[], test_1=[], val_2=[], test_3=[], train_4=[], val_4=[])
    reading = scan([*names, "copy/of/VISPR/images/val2017/2.jpg"], texts)
    assert reading.leaks == ("photo 1 is in train and in test", "photo 4 is in train and in val")
    assert reading.found.copies == 1


def test_the_real_lists_and_attributes() -> None:
    folder = os.environ.get("PRIVADV_REFERENCE_DATA")
    if not folder:
        pytest.skip("PRIVADV_REFERENCE_DATA names no folder of real annotation files")
    with Path(folder, "vispr", "attributes.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(int(row["idx"]), row["attribute_id"]) for row in rows] == list(enumerate(LABELS))
    names = [line for split in ("train", "val", "test")
             for line in Path(folder, "vispr", f"{split}2017.txt").read_text().split()]
    assert label_files(names) == sorted(names, key=lambda name: name.partition("/")[2])
    texts = {name: json.dumps({"labels": ["a0_safe"], "image_path": _photo(name)}) for name in names}
    reading = scan([_photo(name) for name in names], texts)
    assert reading.counts == reading.published and not reading.leaks and not reading.found.quarantined


def _photo(name: str) -> str:
    return name.replace("annotations", "images").replace(".json", ".jpg")
