"""The PA-HMDB51 reader on annotations with every quirk of the two releases, and on the releases themselves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privadv.data import hmdb51
from privadv.data.pa_hmdb51 import BUDGET, VALUES, Segment, annotation_files, count, parse, scan
from privadv.data.verify import verify
from privadv.errors import PrivadvError


def name_of(action: str, number: int = 0) -> str:
    return f"film_{action}_f_cm_np1_le_bad_{number}"


def facts(**tracks: Any) -> dict[str, Any]:
    return {**{name: [[0, 9, 0]] for name in VALUES}, **tracks, "review": True, "note": ""}


def texts_of(**actions: dict[str, Any]) -> dict[str, str]:
    return {f"annotations/{action}.json": json.dumps(videos) for action, videos in actions.items()}


def test_tracks_with_lists_gaps_and_a_late_start() -> None:
    video = name_of("hug")
    annotations = parse(texts_of(hug={f"{video}.avi": facts(
        gender=[[0, 3, [1, 2]], [4, 9, 0]], face=[[5, 9, 2]], nudity=[[0, 1, 1], [8, 9, 1]], skin_color=[[0, 9, [0, 3]]])}))
    one = annotations.videos[0]
    assert (one.video, one.action, one.frames) == (video, "hug", 10)
    assert one.tracks[0] == (Segment(0, 3, (1, 2)), Segment(4, 9, (0,)))
    assert one.present().astype(int).T.tolist() == [
        [1] * 4 + [0] * 6, [0] * 5 + [1] * 5, [1, 1, 0, 0, 0, 0, 0, 0, 1, 1], [1] * 10, [0] * 10]
    assert one.shown(1).any(axis=1).tolist() == [False] * 5 + [True] * 5
    assert one.labels([0, 3]) == (1, 0, 1, 1, 0) and one.labels([4]) == (0, 0, 0, 1, 0)
    assert one.labels([9, 100]) == (0, 1, 1, 1, 0) and one.labels([100]) == (0,) * 5
    assert annotations.remarks == ("1 videos with a track that starts late or is empty",
                                   "1 videos with several values at once")


def test_a_video_counts_under_its_own_action_only() -> None:
    own, other = name_of("dive"), name_of("draw_sword")
    sword = name_of("sword")
    annotations = parse(texts_of(dive={f"{own}.avi": facts(), f"{other}.avi": facts()},
                                 draw_sword={f"{other}.avi": facts()}, sword={f"{sword}.avi": facts()}))
    assert [(one.action, one.video) for one in annotations.videos] == [
        ("dive", own), ("draw_sword", other), ("sword", sword)]
    assert annotations.entries == 4 and annotations.remarks[0] == "1 repeats under foreign actions left aside"


def test_entries_without_review_note_or_frames_are_remarked() -> None:
    bare = {name: [[0, 4, 1]] for name in VALUES}
    empty = {name: [] for name in VALUES}
    annotations = parse(texts_of(hug={name_of("hug", 1): bare, name_of("hug", 2): empty}))
    assert [one.video for one in annotations.videos] == [name_of("hug", 1)]
    assert annotations.names == {name_of("hug", 1), name_of("hug", 2)} and not annotations.unusable
    assert annotations.remarks == ("1 videos without any annotated frame left aside", "2 videos without review or note",
                                   "1 videos not reviewed")


@pytest.mark.parametrize("track", [
    [[0, 9]], [[0, 10**13, 1]], [[0, 10**30, 1]],
    [[5, 4, 0]], [[-1, 4, 0]], [[0, 9, 3]], [[0, 9, []]], [[0, 9, [1, [2]]]], [[0, 9, "1"]], "none", None])
def test_a_malformed_track_sets_the_video_aside(track: Any) -> None:
    video, good = name_of("hug"), name_of("hug", 1)
    annotations = parse(texts_of(hug={f"{video}.avi": facts(face=track), f"{good}.avi": facts()}))
    assert [bad.source for bad in annotations.unusable] == [f"hug/{video}"]
    assert "face" in annotations.unusable[0].reason and video in annotations.names


def test_all_annotated_videos_are_the_test_set() -> None:
    texts = texts_of(hug={f"{name_of('hug')}.avi": facts(face=[[0, 9, 1]]), f"{name_of('hug', 1)}.avi": facts()})
    video = f"hmdb51_org/hug/hug/{name_of('hug')}.avi"
    reading = scan([video, f"hug/{name_of('hug', 7)}.avi", *texts], texts)
    (source,) = reading.splits["test"]
    assert not reading.splits["train"] and not reading.splits["val"]
    assert (source.name, source.files) == (video, (video,))
    assert source.budget == (0, 1, 0, 0, 0) and hmdb51.ACTIONS[source.target] == "hug"
    assert [bad.reason for bad in reading.found.quarantined] == ["is annotated, but its file is missing"]
    with pytest.raises(PrivadvError, match="none of the annotated"):
        scan(texts, texts)


def test_mistakes_are_told() -> None:
    with pytest.raises(PrivadvError, match=r"two annotation files, annotations/hug\.json and old/hug\.json"):
        annotation_files(["old/hug.json", "annotations/hug.json"])
    with pytest.raises(PrivadvError, match=r"hug\.json: is no JSON"):
        parse({"hug.json": "{"})
    with pytest.raises(PrivadvError, match=r"hug\.json: is no JSON"):
        parse({"hug.json": "[" * 100_000})
    with pytest.raises(PrivadvError, match="no JSON object"):
        parse({"hug.json": "[]"})
    with pytest.raises(PrivadvError, match="no PA-HMDB51 annotation"):
        parse({})


def test_the_published_release() -> None:
    annotations = parse(_texts("annotations"))
    found, published = count(annotations)
    assert found.items() <= published.items() and found["annotated frames"] == 52533 and not annotations.unusable
    covered = sum(np.array([one.shown(number).any(axis=1).sum() for number in range(5)]) for one in annotations.videos)
    present = sum(one.present().sum(axis=0) for one in annotations.videos)
    assert BUDGET.classes == ("gender", "face", "nudity", "skin color", "relationship")
    assert np.round(100 * present / covered, 1).tolist() == [98.0, 75.0, 59.7, 97.2, 15.7]
    lists = [sum(len(segment.values) > 1 for one in annotations.videos for segment in one.tracks[number])
             for number in range(5)]
    assert lists == [32, 0, 0, 13, 0]


def test_the_older_release() -> None:
    annotations = parse(_texts("annotations_605"))
    found, published = count(annotations)
    assert found.items() <= published.items() and (found["entries"], found["videos"]) == (605, 529)
    assert "76 repeats under foreign actions left aside" in annotations.remarks and not annotations.unusable


@pytest.mark.parametrize(("release", "held", "leaks"), [("annotations", 515, 286), ("annotations_605", 529, 304)])
def test_the_official_splits_of_hmdb51_leak_and_the_protocol_does_not(
    release: str, held: int, leaks: int, tmp_path: Path
) -> None:
    """Whichever release lies beside the videos, it is held against its own numbers."""
    (tmp_path / "splits").symlink_to(_reference() / "hmdb51" / "splits")
    (tmp_path / "annotations").symlink_to(_reference() / "pa_hmdb51" / release)
    for path in (tmp_path / "splits").iterdir():
        folder = tmp_path / path.name.partition("_test_split")[0]
        folder.mkdir(exist_ok=True)
        for line in path.read_text().splitlines():
            (folder / line.split()[0]).touch()
    found = verify("hmdb51", str(tmp_path), open_files=False)
    facts = {row.fact: (row.found, row.expected) for row in found.rows}
    assert found.sound and facts["test"] == (held, held) and facts["training"] == (6766 - held, 6766 - held)
    found = verify("hmdb51", str(tmp_path), split="1", open_files=False)
    assert sum("of PA-HMDB51 is in training" in fault for fault in found.faults) == leaks


def _texts(release: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (_reference() / "pa_hmdb51" / release).iterdir()}


def _reference() -> Path:
    folder = os.environ.get("PRIVADV_REFERENCE_DATA")
    if not folder:
        pytest.skip("PRIVADV_REFERENCE_DATA names no folder of real annotation files")
    return Path(folder)
