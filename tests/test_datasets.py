"""A whole run on a small stand-in of every dataset, in exactly its layout: alone, or two or three of them together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from playing import Played, Silent, in_this_process, play
from small_datasets import make_all, selections

from privadv import weights
from privadv.checkpoints import Checkpoints
from privadv.config import load_yaml
from privadv.data import synthetic_attributes
from privadv.data.datasets import DATASETS
from privadv.data.manifest import ClipSet
from privadv.data.shards import read_shard
from privadv.errors import PrivadvError
from privadv.models.checkpoint import Trained
from privadv.models.scores import average_precision
from privadv.models.shelf import Shelf
from privadv.run_config import RunConfig
from privadv.stages import extract_frames, pretrain_degradation
from privadv.stages.stage import StageContext
from privadv.store import Store

SMOKE = Path(__file__).resolve().parent.parent / "configs" / "smoke.yaml"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_all(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


def configuration(selection: dict[str, Any]) -> RunConfig:
    """The smoke run on other data; a few steps more, so that losses have somewhere to fall."""
    data = load_yaml(SMOKE)
    pixels = {"frames": 4, "resize": [24, 32], "crop": [16, 16], "sampling": "uniform", "workers": 1}
    data["extract_frames"] = pixels | selection
    data["pretrain_degradation"]["steps"] = 16
    for stage in ("pretrain_target", "pretrain_budget"):
        data[stage]["fit"] = {"steps": 24, "every": 6}
    data["attack"]["raw_fit"] = data["attack"]["fit"] = {"steps": 4, "every": 2}
    data["report"] = {"resamples": 100}
    return RunConfig.parse(data, "the stand-in")


COUNTS = {
    "sbu": ((12, 3, 5), None), "hmdb51": ((10, 2, 4), (24, 10, 12)), "ucf101": ((10, 2, 4), (24, 10, 12)),
    "pa_hmdb51": ((10, 2, 4), (24, 10, 16)), "vispr68": ((12, 3, 5), (24, 10, 12)),
}
"""Clips of train, val and test, and of the set that labels the privacy task."""
ATTRIBUTES = {"hmdb51": 7, "ucf101": 5, "pa_hmdb51": 5, "vispr68": 68}


def test_every_dataset_has_its_stand_in(roots: dict[str, str]) -> None:
    runs = selections(roots)
    chosen = [*runs.values(), *(run["private"] for run in runs.values() if "private" in run)]
    chosen += [one["test"] for one in chosen if "test" in one]
    assert {one["dataset"] for one in chosen} == DATASETS.keys(), "make it in small_datasets.py, and select it there"
    assert COUNTS.keys() == runs.keys(), "each is played by test_a_whole_run"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", COUNTS)
def test_a_whole_run(name: str, roots: dict[str, str], store: Store) -> None:
    done = play(configuration(selections(roots)[name]), store)
    check_clips(done.clips, *COUNTS[name])
    check_losses(store, done.trained)
    assert done.filtered.metrics.keys() >= {"A_T_game", "A_B_game", "psnr"}
    page = store.get(done.report.page).decode()
    for row in ("raw", "filter", "gray"):
        assert f"\n{row} " in done.report.table and f"<td>{row}</td>" in page
    if done.clips.private:
        check_attributes(done, page, ATTRIBUTES[name])
    else:
        budget = done.clips.budget
        assert "Every attribute" not in page and f"{len(budget.classes)} of {budget.name}" in page


def check_clips(clips: ClipSet, counts: tuple[int, ...], private: tuple[int, ...] | None) -> None:
    assert tuple(clips.count(split) for split in clips.splits) == counts
    assert not clips.quarantined and not clips.synthetic and clips.geometry.shape == (4, 16, 16, 3)
    assert (clips.private is None) == (private is None)
    if clips.private and private:
        assert tuple(clips.private.count(split) for split in clips.private.splits) == private
        assert clips.private.geometry.shape == (1, 16, 16, 3) and clips.budget.multi_label


def check_losses(store: Store, trained: dict[str, Trained]) -> None:
    for player in ("target", "budget"):
        curves = json.loads(store.get(trained[player].curves))
        for name in (name for name in curves if name.endswith("train_loss")):
            assert curves[name][-1][1] < curves[name][0][1], name
    psnr = [value for _, value in json.loads(store.get(trained["filter"].curves))["train_psnr"]]
    assert np.mean(psnr[-4:]) > np.mean(psnr[:4])


def check_attributes(done: Played, page: str, attributes: int) -> None:
    """A_B is the highest mean of average precisions, its floor the mean prevalence; every attribute has its line.

    What every test photo shows, or none, has neither.
    """
    raw = done.results["raw"]
    labels = np.array(raw.budget_labels)
    varies = labels.any(axis=0) & ~labels.all(axis=0)
    assert labels.shape[1] == attributes and varies.sum() == 5
    assert len(raw.private_ids) == len(labels) and len(raw.clip_ids) == len(raw.target.predictions)
    for attacker in raw.attackers:
        assert not attacker.predictions and attacker.score == pytest.approx(
            np.mean(average_precision(np.array(attacker.scores)[:, varies], labels[:, varies])))
    assert raw.metrics["A_B_max"] == max(attacker.score for attacker in raw.attackers)
    assert raw.floors["budget_prevalence"] == pytest.approx(labels[:, varies].mean())
    # Two ways to the same mean, which may differ in the last bit.
    assert done.report.metrics["A_B_max"] == pytest.approx(done.results["filter"].metrics["A_B_max"], rel=1e-12)
    gender, face = ("gender", "face") if attributes == 5 else ("a4_gender", "a9_face_complete")
    assert {f"attributes/{gender}_auroc", f"attributes/{face}_balanced_accuracy"} <= done.report.metrics.keys()
    assert "Every attribute" in page and "blind guess, prevalence" in page and "at a cMAP of" in page
    assert f"{attributes} privacy attributes" in page


@pytest.mark.usefixtures("here")
def test_the_filter_is_pretrained_on_as_many_frames_of_photos_as_of_clips(
    roots: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, shapes, error = configuration(selections(roots)["ucf101"]), [], pretrain_degradation._error
    monkeypatch.setattr(pretrain_degradation, "_error", lambda net, clips: shapes.append(clips.shape) or error(net, clips))
    context = StageContext(store, cast(Any, Silent()), Checkpoints(store, "stand-in"), 1)
    clips = extract_frames.run(config.extract_frames, context)
    pretrain_degradation.run(config.pretrain_degradation.model_copy(update={"steps": 4, "batch": 2}), clips, 0, context)
    assert [tuple(shape[::2]) for shape in shapes[:4]] == [(2, 4, 16), (8, 1, 16)] * 2


@pytest.mark.usefixtures("here")
def test_labels_of_frames_are_those_of_the_annotation(roots: dict[str, str], store: Store, tmp_path: Path) -> None:
    """A frame that one attribute is not annotated in gives no clip; every other one has the labels of its segment."""
    selection = selections(roots)["pa_hmdb51"]
    selection["private"]["test"] |= {"stride": 1, "clips": 20}
    context = StageContext(store, cast(Any, Silent()), cast(Any, SimpleNamespace()), 1)
    private = extract_frames.run(configuration(selection).extract_frames, context).privacy
    assert private.dataset == "vispr tested on pa_hmdb51" and private.count("test") == 4 * 8
    for shard in private.splits["test"]:
        for clip in read_shard(store.get(shard.blob), "shard", private.geometry, private.encoding):
            (frame,), number = clip.indices, int("walk" in clip.source)
            assert frame >= 2
            assert clip.budget == (int(frame <= 5), 1 - number, number, int(frame < 5), int(frame > 5)), clip.id


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("name", "root", "said"), [
    ("pa_hmdb51", "hmdb51_pa", "2 leaks between splits, such as '.film._7!.* of PA-HMDB51 is in training'"),
    ("hmdb51", "hmdb51", "2 videos of pa_hmdb51 test, but hmdb51 trains on them, such as .film._7!"),
])
def test_annotated_videos_in_training_are_refused(
    name: str, root: str, said: str, roots: dict[str, str], store: Store, tmp_path: Path
) -> None:
    """Whether the annotations lie below the same root or below another one."""
    copy = shutil.copytree(roots[root], tmp_path / "copy")
    for path in (copy / "splits").iterdir():
        path.write_text("".join(line.replace(" 2 ", " 1 ") if "_7!" in line else line for line in path.open()))
    test = selections(roots)["pa_hmdb51"]["private"]
    selection = selections(roots)[name] | {"root": str(copy), "split": "1", "private": test}
    context = StageContext(store, cast(Any, Silent()), cast(Any, SimpleNamespace()), 1)
    with pytest.raises(PrivadvError, match=said):
        extract_frames.run(configuration(selection).extract_frames, context)


@pytest.mark.usefixtures("here")
def test_synthetic_stand_ins_are_made_where_no_root_is_given(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                            ) -> None:
    """One folder for all three; and a set that was generated elsewhere is known by its files."""
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(synthetic_attributes, "PLAYED_AS", {"approach": "walk"})
    made = {"photos": [3, 1, 2], "train_videos": 3, "annotated_videos": 1, "width": 48, "height": 36}
    selection = {"dataset": "synthetic_hmdb51", "attributes": made, "private": {
        "dataset": "synthetic_vispr", "test": {"dataset": "synthetic_pa_hmdb51", "clips": 4}}}
    context = StageContext(store, cast(Any, Silent()), cast(Any, SimpleNamespace()), 1)
    clips = extract_frames.run(configuration(selection).extract_frames, context)
    assert clips.synthetic and clips.privacy.synthetic and clips.privacy.count("train") == 3
    assert clips.metrics["private_clips_test"] == clips.privacy.count("test")
    (folder,) = (tmp_path / "videos").iterdir()
    roots = {"hmdb51": str(folder / "hmdb51"), "hmdb51_pa": str(folder / "hmdb51"), "vispr": str(folder / "vispr")}
    named = selections(roots | {"sbu": "", "ucf101": ""})["pa_hmdb51"]
    named["private"]["test"] = {"dataset": "pa_hmdb51", "root": roots["hmdb51"], "clips": 4}
    again = extract_frames.run(configuration(named).extract_frames, context)
    assert again.synthetic and again.splits == clips.splits and again.privacy.splits == clips.privacy.splits


@pytest.mark.parametrize(("selection", "said"), [
    ({"dataset": "ucf101", "root": "x"}, "'ucf101' labels no privacy task: add private"),
    ({"dataset": "vispr", "root": "x"}, "'vispr' labels no target task: name it under private"),
    ({"dataset": "pa_hmdb51", "root": "x"}, "'pa_hmdb51' is a test set: name it under private.test"),
    ({"dataset": "sbu", "root": "x", "private": {"dataset": "hmdb51", "root": "x"}}, "'hmdb51' labels no privacy task"),
    ({"dataset": "sbu", "root": "x", "private": {"dataset": "vispr"}}, "'vispr' needs root"),
    ({"dataset": "ucf101", "root": "x", "private": {"dataset": "vispr7", "root": "x", "test": {
        "dataset": "pa_hmdb51", "root": "x"}}}, "labels another privacy task than 'vispr7'"),
    ({"dataset": "ucf101", "root": "x", "private": {"dataset": "vispr", "root": "x", "test": {
        "dataset": "pa_hmdb51", "root": "x", "frames": 4}}}, "private.test.frames = 4, but private.frames = 1"),
])
def test_datasets_that_do_not_go_together(selection: dict[str, Any], said: str) -> None:
    with pytest.raises(PrivadvError, match=said):
        extract_frames.Config.parse(selection, "test")


@pytest.mark.parametrize(("change", "said"), [
    ({"rows": ["raw", "filter", "gray", "framediff"]}, r"rows \['framediff'\] live on what moves"),
    ({"pretrain_degradation": {"network": {"kind": "transform", "motion": True}}}, "network.motion live on what moves"),
])
def test_what_lives_on_motion_is_not_judged_on_photographs(change: dict[str, Any], said: str) -> None:
    photos = {"dataset": "vispr", "root": "x"}
    data = load_yaml(SMOKE) | {"extract_frames": {"dataset": "ucf101", "root": "x", "private": photos}} | change
    with pytest.raises(PrivadvError, match=said):
        RunConfig.parse(data, "test")


@pytest.mark.usefixtures("here")
def test_an_old_filter_meets_new_attackers(roots: dict[str, str], store: Store, tmp_path: Path) -> None:
    """What a run played is named in the store, and another run starts from it: nothing is trained but its readers."""
    first = configuration(selections(roots)["sbu"])
    before = play(first, store)
    folder = tmp_path / "sbu-seed0-20260101-000000"
    folder.mkdir()
    (folder / "report.json").write_text(before.report.canonical())
    roles = [name.partition("/")[2] for name in weights.add(Shelf(store), folder, "old")]
    assert set(roles) == set(before.trained["game"].models)
    with pytest.raises(PrivadvError, match="is the filter of a run: add its folder"):
        weights.read(_touched(folder / "filter.safetensors"))
    pooled = before.report.model_copy(update={"evidence": before.report.evidence * 2})
    for text, said in (("{}", "is no report of a run"), (pooled.canonical(), "is of several seeds")):
        (folder / "report.json").write_text(text)
        with pytest.raises(PrivadvError, match=said):
            weights.add(Shelf(store), folder, None)
    again = first.model_dump(mode="json")
    for stage in ("pretrain_degradation", "pretrain_target", "pretrain_budget", "train_adversarial"):
        again[stage]["start_from"] = "old"
    newcomer = {"reader": {"network": {"kind": "vgg", "width": 4}, "input": "standardised"}, "start": "scratch"}
    again["attack"]["attackers"].append(newcomer)
    after = play(RunConfig.parse(again, "again"), store)
    assert {role: ref.weights for role, ref in after.trained["game"].models.items()} == {
        role: ref.weights for role, ref in before.trained["game"].models.items()}  # fmt: skip
    assert after.filtered.splits == before.filtered.splits
    names = [[one.name for one in done.results["filter"].attackers] for done in (before, after)]
    assert names[1] == [*names[0], "vgg/standardised/scratch"]


def _touched(path: Path) -> Path:
    path.touch()
    return path
