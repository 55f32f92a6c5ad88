"""The HMDB51 reader on listings as users have them, and on the real split lists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from privadv.data.hmdb51 import ACTIONS, action_of, lists, scan
from privadv.errors import PrivadvError

ODD = "(HP)_[x]!#&+;~@_brush_hair_u_nm_np1_ba_goo_0"


def video(action: str, film: str, number: int = 0) -> str:
    return f"{film}_{action}_f_cm_np1_le_bad_{number}"


def a_set() -> tuple[list[str], dict[str, str]]:
    """Two actions, three films to train, one to test, one unused; odd names, nesting, trailing blanks."""
    texts, names = {}, []
    for action in ("brush_hair", "sword"):
        uses = {video(action, film, number): use for film, use in (("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 0))
                for number in (0, 1)}
        uses |= {ODD: 1} if action == "brush_hair" else {}
        texts[f"testTrainMulti_7030_splits/{action}_test_split1.txt"] = "".join(
            f"{name}.avi {use} \r\n" for name, use in uses.items())
        names += [f"hmdb51_org/{action}/{action}/{name}.avi" for name in uses]
    return [*names, *texts], texts


def test_videos_of_any_depth_with_odd_names_find_their_split() -> None:
    names, texts = a_set()
    reading = scan(names, texts, val=0.3)
    assert lists(names) == sorted(texts)
    assert reading.counts == {"videos": 21, "actions": 2, "training": 13, "test": 4, "unused": 4}
    assert not reading.found.quarantined and not reading.leaks
    trained = {source.id: source for source in reading.splits["train"] + reading.splits["val"]}
    odd = trained[ODD]
    assert odd.files == (odd.name,) == (f"hmdb51_org/brush_hair/brush_hair/{ODD}.avi",) and not odd.is_folder
    assert ACTIONS[odd.target] == "brush_hair"
    assert {ACTIONS[source.target] for source in reading.splits["test"]} == {"brush_hair", "sword"}
    kept, held = ({source.recording for source in reading.splits[part]} for part in ("train", "val"))
    assert held and not kept & held
    assert scan(names[::-1], texts, val=0.3) == reading


def test_missing_foreign_and_copied_files_are_told() -> None:
    names, texts = a_set()
    gone = f"hmdb51_org/sword/sword/{video('sword', 'a')}.avi"
    unused = f"hmdb51_org/sword/sword/{video('sword', 'e')}.avi"
    names = [name for name in names if name not in (gone, unused)]
    reading = scan([*names, "stranger.avi", "sword/unknown.avi", f"brush_hair/{ODD}.avi", "sword/._x.avi"], texts)
    assert {bad.source: bad.reason for bad in reading.found.quarantined} == {
        "stranger.avi": "is in no folder of one of the 51 actions", "sword/unknown.avi": "is in no split list",
        f"sword/{video('sword', 'a')}.avi": "is in a split list, but its file is missing"}
    assert reading.found.copies == 1
    assert f"brush_hair/{ODD}.avi" in {source.name for source in reading.found.sources}


def test_held_out_videos_are_a_leak_in_an_official_split_and_the_test_set_of_pa() -> None:
    names, texts = a_set()
    held = {video("sword", "a"), video("sword", "d"), video("sword", "e")}
    assert scan(names, texts, "1", held).leaks == (f"{video('sword', 'a')} of PA-HMDB51 is in training",)
    reading = scan(names, texts, "pa", held)
    assert {source.id for source in reading.splits["test"]} == held and not reading.leaks
    assert reading.counts["training"] == 18
    assert len(reading.notes) == 1 and reading.notes[0].startswith("3 films")
    assert [(reading.published["training"], reading.published["test"]) for reading in (
        reading, scan(names, texts, "pa", held, release=529))] == [(6251, 515), (6237, 529)]


def test_a_film_on_both_sides_is_a_leak() -> None:
    names, texts = a_set()
    torn = {name: text.replace(f"{video('sword', 'd', 1)}.avi 2", f"{video('sword', 'd', 1)}.avi 1")
            for name, text in texts.items()}
    assert scan(names, torn).leaks == ("sword/d is in training and in test",)


@pytest.mark.parametrize(("split", "spoil", "message"), [
    ("4", "", "HMDB51 has no split '4'"), ("pa", "", "needs the PA-HMDB51 annotations"),
    ("1", "name.avi yes\n", r"sword_test_split1\.txt: line 1 is not"), ("2", "", "no HMDB51 list")])
def test_mistakes_are_told(split: str, spoil: str, message: str) -> None:
    names, texts = a_set()
    if spoil:
        texts |= {"testTrainMulti_7030_splits/sword_test_split1.txt": spoil}
    with pytest.raises(PrivadvError, match=message):
        scan(names, texts, split)


def test_no_videos_is_told() -> None:
    _, texts = a_set()
    with pytest.raises(PrivadvError, match="no HMDB51 video"):
        scan(texts, texts)


def test_the_real_split_lists() -> None:
    folder = _reference() / "hmdb51"
    texts = {path.name: path.read_text() for path in (folder / "splits").iterdir()}
    assert len(lists(texts)) == 153
    classes = [line.split("\t")[1] for line in (folder / "classInd.txt").read_text().splitlines()]
    assert list(ACTIONS) == classes
    listed = [(name.partition("_test_split")[0], line.rsplit(maxsplit=1)[0]) for name, text in texts.items()
              if name.endswith("split1.txt") for line in text.splitlines()]
    assert all(action_of(file.removesuffix(".avi")) == action for action, file in listed)
    names = [f"{action}/{file}" for action, file in listed]
    for split in ("1", "2", "3"):
        reading = scan(names, texts, split)
        assert reading.counts == reading.published and not reading.leaks and not reading.found.quarantined
        assert 0.17 < len(reading.splits["val"]) / 3570 < 0.23
        assert len({source.target for source in reading.splits["val"]}) == 51


def _reference() -> Path:
    folder = os.environ.get("PRIVADV_REFERENCE_DATA")
    if not folder:
        pytest.skip("PRIVADV_REFERENCE_DATA names no folder of real annotation files")
    return Path(folder)
