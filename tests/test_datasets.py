"""A whole run on a small stand-in of every dataset, in exactly its layout: alone, or two or three of them together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from privadv.checkpoints import Checkpoints
from privadv.config import load_yaml
from privadv.data import synthetic_attributes
from privadv.data.manifest import ClipSet
from privadv.data.shards import read_shard
from privadv.data.ucf101 import CLASSES
from privadv.errors import PrivadvError
from privadv.evaluation.results import RowResult
from privadv.models.checkpoint import Trained
from privadv.models.scores import average_precision
from privadv.run_config import RunConfig
from privadv.stages import (
    attack,
    extract_frames,
    pretrain_budget,
    pretrain_degradation,
    pretrain_target,
    pretraining,
    render,
    report,
    train_adversarial,
)
from privadv.stages.stage import StageContext
from privadv.store import Store
from privadv.training import Fitted, Job

SMOKE = Path(__file__).resolve().parent.parent / "configs" / "smoke.yaml"
HEIGHT, WIDTH, FRAMES = 24, 32, 10
LABELS = ("a4_gender", "a9_face_complete", "a12_semi_nudity", "a17_color", "a64_rel_personal")


class Silent:
    """A tracker that nobody reads."""

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        assert all(np.isfinite(value) for value in values.values())

    def child(self, *_: Any) -> Any:
        return nullcontext(self)

    @property
    def parent(self) -> Any:
        return nullcontext(self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def film(action: int, shade: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Action 0 grows brighter and 1 darker; ``shade`` 0 is red on the left, 1 blue on the right."""
    frames = rng.integers(90, 110, (FRAMES, HEIGHT, WIDTH, 3))
    frames += (np.arange(FRAMES) * (8 if action == 0 else -8))[:, None, None, None]
    frames[:, :, : WIDTH // 2, 0] += 60 * (shade == 0)
    frames[:, :, WIDTH // 2 :, 2] += 60 * (shade == 1)
    return list(frames.astype(np.uint8))


def write_avi(path: Path, frames: Sequence[np.ndarray]) -> None:
    """MPEG-4 in AVI, as HMDB51 and UCF101 have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_sbu(root: Path) -> None:
    """Two pairs, two actions, five takes: doubly nested frame folders, and re-encoded files."""
    rng = np.random.default_rng(0)
    for pair, actors in enumerate((("s01s02", "s02s01"), ("s03s04", "s04s03"))):
        for action in (0, 1):
            for take in range(1, 6):
                folder, frames = actors[take % 2], film(action, pair, rng)
                if take < 4:
                    place = root / folder / folder / f"{action + 1:02d}" / f"{take:03d}"
                    place.mkdir(parents=True)
                    for number, frame in enumerate(frames, 55):
                        Image.fromarray(frame).save(place / f"rgb_{number:06d}.png")
                else:
                    write_avi(root / f"{folder}_{action + 1:02d}_{take:03d}.avi", frames)


def make_hmdb51(root: Path, annotated: bool) -> None:
    """Two actions, eight films each, of which the last two test; odd names, trailing blanks in the lists."""
    rng = np.random.default_rng(1)
    for number, action in enumerate(("hug", "walk")):
        videos = [f"[film]_{film}!_{action}_f_cm_np1_le_bad_0.avi" for film in range(8)]
        for video in videos:
            write_avi(root / action / action / video, film(number, int(rng.integers(2)), rng))
        lines = "".join(f"{video} {1 + (place > 5)} \n" for place, video in enumerate(videos))
        write_text(root / "splits" / f"{action}_test_split1.txt", lines)
        if annotated:
            half = FRAMES // 2
            tracks = {"skin_color": [[0, half - 1, 1], [half, FRAMES - 1, 0]], "face": [[2, FRAMES - 1, 1 - number]],
                      "gender": [[0, half, [1, 2]], [half + 1, FRAMES - 1, 0]], "nudity": [[0, FRAMES - 1, number]],
                      "relationship": [[0, half, 0], [half + 1, FRAMES - 1, 1]]}
            write_text(root / "annotations" / f"{action}.json",
                       json.dumps({video: {**tracks, "review": True, "note": ""} for video in videos[6:]}))


def make_ucf101(root: Path) -> None:
    """Two classes, eight groups each, of which the first two test."""
    rng, train, test = np.random.default_rng(2), [], []
    for number, name in enumerate(("Archery", "YoYo")):
        for group in range(1, 9):
            path = f"{name}/v_{name}_g{group:02d}_c01.avi"
            write_avi(root / "UCF-101" / path, film(number, int(rng.integers(2)), rng))
            (test if group < 3 else train).append(path)
    lists = root / "ucfTrainTestlist"
    write_text(lists / "classInd.txt", "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1)))
    write_text(lists / "trainlist01.txt", "".join(f"{path} {CLASSES.index(path.split('/')[0]) + 1}\n" for path in train))
    write_text(lists / "testlist01.txt", "".join(f"{path}\n" for path in test))


def make_vispr(root: Path) -> None:
    """Photos of several sizes and colour modes: an attribute is a bright stripe."""
    rng = np.random.default_rng(3)
    for split, count in (("train2017", 24), ("val2017", 10), ("test2017", 12)):
        for number in range(count):
            shown = rng.random(5) < (0.8, 0.6, 0.5, 0.7, 0.3)
            picture = rng.integers(60, 120, (30, 40 + number % 3, 3)).astype(np.uint8)
            for stripe in np.flatnonzero(shown):
                picture[6 * stripe : 6 * stripe + 6] += np.uint8(120)
            image = Image.fromarray(picture).convert(("RGB", "L", "CMYK")[number % 3])
            name = f"2017_{split[:2]}{number:06d}"
            place = root / "images" / split / f"{name}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            image.save(place)
            facts = {"image_path": f"images/{split}/{name}.jpg",
                     "labels": [LABELS[stripe] for stripe in np.flatnonzero(shown)] or ["a0_safe"]}
            write_text(root / "annotations" / split / f"{name}.json", json.dumps(facts))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("datasets")
    make_sbu(folder / "sbu")
    make_hmdb51(folder / "hmdb51", annotated=False)
    make_hmdb51(folder / "hmdb51_pa", annotated=True)
    make_ucf101(folder / "ucf101")
    make_vispr(folder / "vispr")
    return {path.name: str(path) for path in folder.iterdir()}


def selections(roots: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The extraction of every combination of datasets that is trained on."""
    photos = {"dataset": "vispr", "root": roots["vispr"]}
    frames = {"dataset": "pa_hmdb51", "root": roots["hmdb51_pa"], "clips": 4, "stride": 2}
    return {
        "sbu": {"dataset": "sbu", "root": roots["sbu"]},
        "hmdb51": {"dataset": "hmdb51", "root": roots["hmdb51"], "split": "1", "private": photos},
        "ucf101": {"dataset": "ucf101", "root": roots["ucf101"], "private": photos},
        "pa_hmdb51": {"dataset": "hmdb51", "root": roots["hmdb51_pa"], "split": "pa", "private": {**photos, "test": frames}},
    }


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in this process: starting others is most of what so small a run takes, and has tests of its own."""

    def fit_here(jobs: Sequence[Job], workers: int, what: str, checkpoints: Checkpoints) -> dict[str, Fitted]:
        return {job.name: job.fit(lambda steps: None) for job in jobs}

    monkeypatch.setattr(extract_frames, "worker_pool", ThreadPoolExecutor)
    for stage in (pretraining, attack):
        monkeypatch.setattr(stage, "fit_all", fit_here)
    monkeypatch.setattr(report, "_curves", lambda *_: [])


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


@dataclass
class Played:
    clips: ClipSet
    trained: dict[str, Trained]
    results: dict[str, RowResult]
    filtered: ClipSet
    report: report.Report


def play(config: RunConfig, store: Store) -> Played:
    """All stages in their order, as pipeline.py joins them."""
    context = StageContext(store, cast(Any, Silent()), Checkpoints(store, "stand-in"), workers=1)
    clips = extract_frames.run(config.extract_frames, context)
    filter_ = pretrain_degradation.run(config.pretrain_degradation, clips, 0, context)
    target = pretrain_target.run(config.pretrain_target, clips, filter_, 0, context)
    budget = pretrain_budget.run(config.pretrain_budget, clips, filter_, 0, context)
    game = train_adversarial.run(config.train_adversarial, clips, filter_, target, budget, 0, context)
    stored, results = {}, {}
    for row in config.rows:
        stored[row] = render.run(config.render, row, clips, 0, context, game if row == "filter" else None)
        begin = {"warm": results["raw"], "raw": stored["raw"]} if row != "raw" else {}
        results[row] = attack.run(config.attack, row, stored[row], 0, context, **begin)
    made = report.run(config.report, clips, (stored["filter"],), filter_, target, budget, game, tuple(results.values()),
                      0, config.canonical(), context)
    return Played(clips, {"filter": filter_, "target": target, "budget": budget, "game": game}, results,
                  stored["filter"], made)


COUNTS = {
    "sbu": ((12, 3, 5), None), "hmdb51": ((10, 2, 4), (24, 10, 12)), "ucf101": ((10, 2, 4), (24, 10, 12)),
    "pa_hmdb51": ((10, 2, 4), (24, 10, 16)),
}


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
        check_attributes(done, page)
    else:
        assert "Every attribute" not in page and "13 of actor pair" in page


def check_clips(clips: ClipSet, counts: tuple[int, ...], private: tuple[int, ...] | None) -> None:
    assert tuple(clips.count(split) for split in clips.splits) == counts
    assert not clips.quarantined and not clips.synthetic and clips.geometry.shape == (4, 16, 16, 3)
    assert (clips.private is None) == (private is None)
    if clips.private and private:
        assert tuple(clips.private.count(split) for split in clips.private.splits) == private
        assert clips.private.geometry.shape == (1, 16, 16, 3) and clips.budget.multi_label
        assert clips.budget.classes == ("gender", "face", "nudity", "skin color", "relationship")


def check_losses(store: Store, trained: dict[str, Trained]) -> None:
    for player in ("target", "budget"):
        curves = json.loads(store.get(trained[player].curves))
        for name in (name for name in curves if name.endswith("train_loss")):
            assert curves[name][-1][1] < curves[name][0][1], name
    psnr = [value for _, value in json.loads(store.get(trained["filter"].curves))["train_psnr"]]
    assert np.mean(psnr[-4:]) > np.mean(psnr[:4])


def check_attributes(done: Played, page: str) -> None:
    """A_B is the highest mean of average precisions, its floor the mean prevalence; every attribute has its line."""
    raw = done.results["raw"]
    labels = np.array(raw.budget_labels)
    assert len(raw.private_ids) == len(labels) and len(raw.clip_ids) == len(raw.target.predictions)
    for attacker in raw.attackers:
        assert not attacker.predictions and attacker.score == pytest.approx(
            np.mean(average_precision(np.array(attacker.scores), labels)))
    assert raw.metrics["A_B_max"] == max(attacker.score for attacker in raw.attackers)
    assert raw.floors["budget_prevalence"] == pytest.approx(labels.mean())
    assert done.report.metrics["A_B_max"] == done.results["filter"].metrics["A_B_max"]
    assert {"attributes/gender_auroc", "attributes/face_balanced_accuracy"} <= done.report.metrics.keys()
    assert "Every attribute" in page and "blind guess, prevalence" in page and "at a cMAP of" in page
    assert "5 privacy attributes" in page


@pytest.mark.usefixtures("here")
def test_labels_of_frames_are_those_of_the_annotation(roots: dict[str, str], store: Store, tmp_path: Path) -> None:
    """A frame that one attribute is not annotated in gives no clip; every other one has the labels of its segment."""
    selection = selections(roots)["pa_hmdb51"]
    selection["private"]["test"] |= {"stride": 1, "clips": 20}
    context = StageContext(store, cast(Any, Silent()), cast(Any, SimpleNamespace()), 1)
    private = extract_frames.run(configuration(selection).extract_frames, context).privacy
    assert private.dataset == "vispr tested on pa_hmdb51" and private.count("test") == 4 * 8
    for shard in private.splits["test"]:
        for clip in read_shard(store.fetch(shard.blob, tmp_path), private.geometry, private.encoding):
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
