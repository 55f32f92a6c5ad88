"""The SBU reader on listings in the shapes that copies of the dataset have."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

from privadv.data.manifest import SPLITS, Source
from privadv.data.sbu import BUDGET, TARGET, scan, split_by_share, split_by_take
from privadv.errors import PrivadvError

SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
NUMBERING = {"01-02": 0, "01-03": 1, "01-07": 2, "02-03": 3, "02-06": 4, "02-07": 5, "03-04": 6, "03-05": 7,
             "03-06": 8, "02-04": 9, "04-06": 10, "02-05": 11, "03-07": 12}


def sequence(folder: str, *numbers: int) -> list[str]:
    names = [f"{folder}/rgb_{number:06d}.png" for number in numbers]
    return [*names, *(name.replace("rgb", "depth") for name in names), f"{folder}/skeleton_pos.txt"]


def test_frame_folders_at_any_depth() -> None:
    found = scan(sequence("s02s01/03/001", 57, 9, 55) + sequence("SBU/s03s06/s03s06/01/002", 2, 1)
                 + sequence("7/s07s03/08/003", 4))
    assert found.sources == (
        Source("s02s01_03_001", "s02s01/03/001",
               tuple(f"s02s01/03/001/rgb_{n:06d}.png" for n in (9, 55, 57)), 2, 0),
        Source("s03s06_01_002", "SBU/s03s06/s03s06/01/002",
               tuple(f"SBU/s03s06/s03s06/01/002/rgb_{n:06d}.png" for n in (1, 2)), 0, 8),
        Source("s07s03_08_003", "7/s07s03/08/003", ("7/s07s03/08/003/rgb_000004.png",), 7, 12))
    assert all(source.is_folder for source in found.sources)
    assert found.quarantined == () and found.copies == 0


def test_video_files() -> None:
    found = scan(["avi/s05s02_02_001.avi", "s04s06_05_002.MP4", "readme.txt", ".s01s02_01_001.avi",
                  "__MACOSX/avi/s05s02_02_001.avi", "avi/._s05s02_02_001.avi"])
    assert [(source.id, source.target, source.budget) for source in found.sources] == [
        ("s04s06_05_002", 4, 10), ("s05s02_02_001", 1, 11)]
    assert not any(source.is_folder for source in found.sources)
    assert found.quarantined == ()


def test_both_orders_of_every_pair_have_the_class_of_the_table() -> None:
    names = [f"s{a}s{b}_01_001.avi" for pair in NUMBERING for a, b in permutations(pair.split("-"))]
    found = scan(names)
    assert len(found.sources) == 26
    for source in found.sources:
        assert source.budget == NUMBERING["-".join(sorted((source.id[1:3], source.id[4:6])))]
    assert BUDGET.classes == tuple(NUMBERING) and len(TARGET.classes) == 8
    assert [name.split()[0] for name in TARGET.classes] == [str(number) for number in range(1, 9)]


def test_copies_are_left_aside_and_the_fullest_is_taken() -> None:
    found = scan(sequence("1/s01s02/01/001", 1, 2) + sequence("s01s02/01/001", 1, 2) + ["s01s02_01_001.avi"]
                 + sequence("s01s02/01/002", 1) + sequence("2/s01s02/01/002", 1, 2, 3))
    assert [source.name for source in found.sources] == ["s01s02/01/001", "2/s01s02/01/002"]
    assert found.copies == 3


def test_unusable_files_are_named() -> None:
    found = scan(["s01s02_01_001.avi", "holiday.mp4", "s01s05_01_001.avi", "s01s02_09_001.avi",
                  "s01s02/02/001/depth_000001.png"])
    assert {bad.source: bad.reason for bad in found.quarantined} == {
        "holiday.mp4": "its name is not of the form s01s02_01_001",
        "s01s05_01_001.avi": "SBU has no s01s05 with action 01",
        "s01s02_09_001.avi": "SBU has no s01s02 with action 09",
        "s01s02/02/001": "has no rgb_*.png frames"}
    with pytest.raises(PrivadvError, match="holds no SBU sequence"):
        scan(["holiday.mp4"])


def as_large_as_the_dataset() -> list[Source]:
    """21 ordered pairs, 8 actions, one or two takes; the cells that the real set lacks are missing."""
    ordered = ["s01s02", "s01s03", "s01s07", "s02s01", "s02s03", "s02s06", "s02s07", "s03s02", "s03s04",
               "s03s05", "s03s06", "s04s02", "s04s03", "s04s06", "s05s02", "s05s03", "s06s02", "s06s03",
               "s06s04", "s07s01", "s07s03"]
    missing = {"s02s03_05", "s03s06_05", "s05s02_05", "s05s02_07", "s06s03_08"}
    cells = [f"{pair}_{action:02d}" for pair in ordered for action in range(1, 9)]
    return list(scan(f"{cell}_{take:03d}.avi" for cell in cells if cell not in missing
                     for take in range(1, 3 if sum(map(ord, cell)) % 4 else 2)).sources)


def test_shares_are_kept_inside_pairs_and_actions() -> None:
    sources = as_large_as_the_dataset()
    splits = split_by_share(sources, SHARES, seed=0)
    assert sorted(one.id for split in SPLITS for one in splits[split]) == sorted(one.id for one in sources)
    for split in SPLITS:
        assert len(splits[split]) / len(sources) == pytest.approx(SHARES[split], abs=0.03)
        assert {source.target for source in splits[split]} == set(range(8))
        assert {source.budget for source in splits[split]} == set(range(13))
    trained = {(source.budget, source.target) for source in splits["train"]}
    assert trained == {(source.budget, source.target) for source in sources}
    actions, tested = Counter(one.target for one in sources), Counter(one.target for one in splits["test"])
    parts = [tested[action] / actions[action] for action in range(8)]
    assert parts == pytest.approx([SHARES["test"]] * 8, abs=0.07)


def test_the_split_depends_on_the_seed_alone() -> None:
    sources = as_large_as_the_dataset()
    assert split_by_share(sources, SHARES, seed=5) == split_by_share(sources[::-1], SHARES, seed=5)
    assert split_by_share(sources, SHARES, seed=5) != split_by_share(sources, SHARES, seed=6)


def test_split_by_take_number() -> None:
    sources = scan([f"s01s02_01_{take:03d}.mp4" for take in range(1, 7)]).sources
    splits = split_by_take(sources, (3, 1, 2))
    assert {split: [int(source.id[-3:]) for source in chosen] for split, chosen in splits.items()} == {
        "train": [1, 2, 3], "val": [4], "test": [5, 6]}
    with pytest.raises(PrivadvError, match=r"s01s02_01_006\.mp4: take 6 is in no split"):
        split_by_take(sources, (3, 1, 1))
