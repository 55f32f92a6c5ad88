"""Statistics of PA-HMDB51 annotations against counting by hand, and on the published release."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privadv.data.__main__ import main
from privadv.data.pa_hmdb51 import VALUES, Annotation, Segment, annotation_files, parse
from privadv.data.statistics import _actions, draw, statistics


def annotation(video: str, action: str, *face: tuple[int, int, int]) -> Annotation:
    tracks: dict[str, tuple[Segment, ...]] = {name: (Segment(0, 9, (0,)),) for name in VALUES}
    tracks["face"] = tuple(Segment(first, last, (value,)) for first, last, value in face)
    tracks["gender"] = (Segment(0, 4, (1, 2)), Segment(5, 9, (0,)))
    return Annotation(video, action, tuple(tracks.values()))


def some() -> list[Annotation]:
    return [annotation("a", "hug", (0, 9, 2)), annotation("b", "hug", (0, 4, 1), (5, 9, 0)),
            annotation("c", "walk", (5, 8, 1), (9, 9, 0))]


def test_frames_are_counted_where_they_are_annotated() -> None:
    found = statistics(some())
    assert found.actions == ("hug", "walk")
    assert found.videos.tolist() == [2, 1] and found.frames.tolist() == [20, 10]
    assert found.annotated["face"].tolist() == [20, 5]
    assert found.values["face"].tolist() == [[5, 5, 10], [1, 4, 0]] and found.present["face"].tolist() == [15, 4]
    assert found.prevalence("face") == pytest.approx(19 / 25)
    assert found.shares("face").tolist() == [[0.25, 0.25, 0.5], [0.2, 0.8, 0]]
    assert found.values["gender"].tolist() == [[10, 0, 0, 10], [5, 0, 0, 5]], "people who differ are a value of their own"


def test_who_cannot_be_told_makes_no_difference() -> None:
    tracks: dict[str, tuple[Segment, ...]] = {name: (Segment(0, 9, (0,)),) for name in VALUES}
    tracks["gender"] = (Segment(0, 3, (0, 1)), Segment(4, 9, (1, 2)))
    tracks["skin_color"] = (Segment(0, 5, (0, 3)), Segment(6, 9, (1, 3)))
    tracks["face"] = (Segment(0, 9, (1, 2)),)
    found = statistics([Annotation("a", "hug", tuple(tracks.values()))])
    assert found.values["gender"].tolist() == [[0, 4, 0, 6]] and found.values["skin_color"].tolist() == [[0, 0, 0, 6, 4]]
    assert found.values["face"].tolist() == [[0, 10, 10]]
    assert found.present["gender"].tolist() == [10]


def test_the_bars_of_actions_are_videos() -> None:
    (axes,) = _actions(statistics(some())).axes
    assert [bar.get_height() for bar in axes.patches] == [2, 1] and axes.get_ylabel() == "videos"  # pyright: ignore


def test_correlation_is_that_of_the_frames() -> None:
    found = statistics(some())
    is_hug = np.array([1] * 20 + [0] * 5)
    shows = np.array([1] * 15 + [0] * 5 + [1] * 4 + [0])
    expected = np.corrcoef(is_hug, shows)[0, 1]
    assert found.correlation("face") == pytest.approx([expected, -expected])
    assert found.correlation("relationship").tolist() == [0, 0]


def test_tables_and_figures_are_written(tmp_path: Path) -> None:
    tracks = {name: [[0, 9, 1]] for name in VALUES}
    for action in ("hug", "sword_exercise"):
        video = f"film_{action}_f_cm_np1_le_bad_0.avi"
        (tmp_path / f"{action}.json").write_text(json.dumps({video: tracks}))
    lines = draw(str(tmp_path), tmp_path / "out")
    assert lines[0] == "2 entries, 2 videos, 2 actions, 20 annotated frames"
    with (tmp_path / "out" / "attributes.csv").open() as file:
        rows = {(row["attribute"], row["meaning"]): row["frames"] for row in csv.DictReader(file)}
    assert rows["skin_color", "white"] == "20" and rows["skin_color", "black"] == "0" and len(rows) == 17
    assert rows["skin_color", "coexisting"] == rows["gender", "coexisting"] == "0"
    with (tmp_path / "out" / "actions.csv").open() as file:
        actions = list(csv.DictReader(file))
    assert [row["action"] for row in actions] == ["hug", "sword_exercise"] and actions[0]["face: share"] == "1.0000"
    for name in ("attributes", "actions", "values", "correlation"):
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_the_command_needs_annotations_and_a_folder_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statistics", str(tmp_path), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "privadv: data: root holds no PA-HMDB51 annotation (brush_hair.json)\n"
    assert not (tmp_path / "out").exists()
    tracks = {name: [[0, 1, 1]] for name in VALUES}
    (tmp_path / "hug.json").write_text(json.dumps({"film_hug_f_cm_np1_le_bad_0.avi": tracks}))
    assert main(["statistics", str(tmp_path), str(tmp_path / "hug.json")]) == 2
    assert "hug.json is there already: name a new folder" in capsys.readouterr().err
    assert main(["statistics", str(tmp_path), "/proc/out"]) == 2
    assert capsys.readouterr().err.startswith("privadv: data: /proc/out: cannot be written (")


def test_the_published_release() -> None:
    folder = os.environ.get("PRIVADV_REFERENCE_DATA")
    if not folder:
        pytest.skip("PRIVADV_REFERENCE_DATA names no folder of real annotation files")
    paths = list(Path(folder, "pa_hmdb51", "annotations").iterdir())
    texts = {path.name: path.read_text() for path in paths}
    found = statistics(parse({name: texts[name] for name in annotation_files(texts)}).videos)
    assert found.frames.sum() == 52533 and found.videos.sum() == 515
    assert found.videos.min() == 5 and found.videos.max() == 25
    prevalence = {name: round(100 * found.prevalence(name), 1) for name in VALUES}
    assert prevalence == {"gender": 98.0, "face": 75.0, "nudity": 59.7, "skin_color": 97.2, "relationship": 15.7}
    # The numbers of the seed's figures, from its attr_value_num.json; its three mixtures of skin colors are one value in them.
    counted = {name: found.values[name].sum(axis=0).tolist() for name in VALUES}
    assert counted == {
        "gender": [1061, 29075, 18629, 3648], "face": [13088, 20037, 19288], "nudity": [21099, 23241, 8072],
        "skin_color": [1477, 36995, 7586, 5419, 152 + 235 + 549], "relationship": [44205, 8208]}
    # Who kisses or hugs is seen to be close: the two actions that give a relationship away.
    strongest = np.argsort(found.correlation("relationship"))[-2:]
    assert {found.actions[row] for row in strongest} == {"kiss", "hug"}
