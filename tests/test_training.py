"""The supervised fit, the feed under it, and the protocol of the second fold, on clips a reader can learn in seconds."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from privadv.checkpoints import Checkpoints
from privadv.data.feeds import AHEAD, ClipArray, Feed, Moves, Player, open_split, to_float, to_uint8
from privadv.data.manifest import Clip, ClipSet, Geometry, Task
from privadv.data.shards import write_shards
from privadv.errors import PrivadvError
from privadv.evaluation.inversion import Nearest, RawReader
from privadv.evaluation.suite import AttackerSpec, Suite
from privadv.evaluation.two_fold import jobs, result, row_metrics
from privadv.models.checkpoint import save_weights
from privadv.models.clip import R2Plus1D
from privadv.models.frame import DenseNet, Inception, MobileNet, ResNet
from privadv.models.reader import ReaderSpec
from privadv.stages.pretraining import _seeds
from privadv.store import Store
from privadv.training import FitConfig, FitJob, Fitted, Tick, fit, fit_all, predict, read_with, seed_of
from tests.scalars import ScalarsRead

GEOMETRY = Geometry(frames=2, height=16, width=16)


def clips(count: int, seed: int) -> list[Clip]:
    """Brightness of the upper half tells the target, of the lower half the budget label."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        target, budget = (int(label) for label in rng.integers(0, 2, 2))
        frames = rng.integers(90, 130, (*GEOMETRY.shape,)).astype(np.uint8)
        frames[:, :8] += np.uint8(80 * target)
        frames[:, 8:] += np.uint8(80 * budget)
        made.append(Clip(f"clip{seed}-{number}", frames, target, budget, f"video{number}", (0, 1)))
    return made


def array(folder: Path, count: int, seed: int) -> ClipArray:
    return ClipArray.write(folder / f"{seed}.u8", clips(count, seed), count, GEOMETRY)


def job(folder: Path, **changes: object) -> FitJob:
    train, validation = array(folder, 48, 1), array(folder, 24, 2)
    spec = ReaderSpec(network=ResNet(width=4))
    values = {
        "name": "reader",
        "player": "budget",
        "spec": spec,
        "classes": 2,
        "seed": 0,
        "train": train.path,
        "validation": validation.path,
        "config": FitConfig(steps=60, every=20, lr=0.01),
    }
    return FitJob(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def test_a_fit_learns_its_own_player_s_labels_and_says_how_well(tmp_path: Path) -> None:
    test = array(tmp_path, 40, 3)
    fitted = fit(job(tmp_path, test=test.path))
    right = (torch.tensor(fitted.predictions).argmax(1) == test.budget).float().mean()
    assert fitted.validation > 0.9 and fitted.train_accuracy > 0.9 and right > 0.9
    assert [step for step, _ in fitted.curves["val_accuracy"]] == [20, 40, 60]


def test_a_fit_is_a_function_of_its_job(tmp_path: Path) -> None:
    one, other = fit(job(tmp_path)), fit(job(tmp_path))
    assert one.weights == other.weights and fit(job(tmp_path, seed=1)).weights != one.weights


def test_no_step_of_a_fit_waits_for_its_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for steps in (20, 60):
        with ScalarsRead(monkeypatch) as read:
            fit(job(tmp_path, config=FitConfig(steps=steps, every=steps)))
        counts.append((read.count, read.together))
    assert counts[0] == counts[1]


def test_jobs_in_worker_processes_give_what_they_give_alone(store: Store, tmp_path: Path) -> None:
    todo = [
        job(tmp_path, name="a", config=FitConfig(steps=5, every=5)),
        job(tmp_path, name="b", config=FitConfig(steps=5, every=5), seed=3),
    ]
    together = fit_all(todo, 2, "test", Checkpoints(store, "task"))
    assert list(together) == ["a", "b"]
    for one in todo:
        assert together[one.name].validation == fit(one).validation


@dataclass(frozen=True)
class Noted:
    """A job that notes when it began."""

    name: str
    cost: float
    log: Path
    config: FitConfig

    def fit(self, tick: Tick, checkpoints: Checkpoints | None = None) -> Fitted:
        with self.log.open("a") as log:
            log.write(self.name)
        tick(1)
        return Fitted(self.name, b"", 1, 0.0, 0.0, 0.0, 0.0)


def test_what_takes_longest_begins_first(store: Store, tmp_path: Path) -> None:
    """So that no worker waits at the end for another; equals keep their order, and results the jobs'."""
    log = tmp_path / "begun"
    todo = [Noted(name, cost, log, FitConfig(steps=1)) for name, cost in (("a", 2), ("b", 0), ("c", 9), ("d", 2))]
    assert list(fit_all(todo, 1, "test", Checkpoints(store, "noted"))) == ["a", "b", "c", "d"]
    assert log.read_text() == "cadb"


def test_a_failing_job_stops_the_others_with_its_own_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PrivadvError, match="broken: not the weights"):
        fit_all([job(tmp_path), job(tmp_path, name="broken", weights=b"nonsense")], 2, "test", Checkpoints(store, "task"))


def test_a_terminated_stage_leaves_its_fits_at_once(store: Store, tmp_path: Path) -> None:
    def leave(_signal: int, _frame: object) -> None:
        raise SystemExit(143)

    endless = FitConfig(steps=10_000_000, every=10_000_000)
    before, others = signal.signal(signal.SIGALRM, leave), set(active_children())
    try:
        signal.alarm(6)
        with pytest.raises(SystemExit):
            fit_all([job(tmp_path, name=name, config=endless) for name in "abc"], 1, "test", Checkpoints(store, "endless"))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert set(active_children()) <= others


def test_equal_readers_of_neighbouring_seeds_are_not_each_other() -> None:
    one, other = ReaderSpec(network=ResNet(width=8)), ReaderSpec(network=ResNet(width=4))
    assert _seeds(3, [one, other]) == [3, 4]
    suite = [one, other, one, one]
    drawn = [(seed, spec.canonical()) for run in range(5) for seed, spec in zip(_seeds(run, suite), suite, strict=True)]
    assert len(set(drawn)) == len(drawn)


def test_no_two_readers_of_an_evaluation_share_a_seed() -> None:
    """Nor do they share one with the readers that played in the game, or with those of a neighbouring run."""
    roles = [(kind, name) for kind in ("raw", "row", "finals") for name in ("target", "a/plain/warm", "a/plain/scratch")]
    drawn = [seed_of(run, *role) for run in range(20) for role in roles] + list(range(1000))
    assert len(set(drawn)) == len(drawn)
    assert seed_of(3, "row", "target") == seed_of(3, "row", "target") < 2**32


def test_whether_a_reader_could_fit_its_clips_is_asked_of_its_last_weights(tmp_path: Path) -> None:
    """The best by validation may be early ones, before it had."""
    strangers = array(tmp_path, 24, 2)
    other = strangers.derive(tmp_path / "other.u8", iter([255 - np.asarray(strangers.frames)]))
    fitted = fit(job(tmp_path, validation=other.path, config=FitConfig(steps=80, every=1, lr=0.01)))
    reader = read_with(ReaderSpec(network=ResNet(width=4)), 2, fitted.weights)
    train = ClipArray.open(tmp_path / "1.u8")
    kept = (predict(reader, train).argmax(1) == train.budget).float().mean().item()
    assert fitted.train_accuracy > 0.95 > 0.8 > kept


def test_an_adaptive_fit_ends_with_the_statistics_of_its_own_clips(tmp_path: Path) -> None:
    raw = array(tmp_path, 48, 1)
    dark = raw.derive(tmp_path / "dark.u8", iter([(np.asarray(raw.frames) // 2).astype(np.uint8)]))
    spec = ReaderSpec(network=ResNet(width=4), input="adaptive")
    fitted = fit(job(tmp_path, spec=spec, train=dark.path, ease_from=raw.path))
    from safetensors.torch import load

    assert load(fitted.weights)["treatment.mean"].mean().item() == pytest.approx(
        np.asarray(dark.frames).mean() / 255, abs=1e-4
    )


def test_an_adaptive_reader_sees_what_a_strong_fixed_pattern_hides(tmp_path: Path) -> None:
    """Also while its clips are moved and mirrored: the pattern that it takes away moves with them."""
    pattern = np.random.default_rng(7).integers(0, 2, (1, 16, 16, 3)) * 150

    def hidden(count: int, seed: int) -> ClipArray:
        source = array(tmp_path, count, seed)
        faint = (np.asarray(source.frames).astype(int) - 90) // 6 + 40 + pattern
        return source.derive(tmp_path / f"hidden{seed}.u8", iter([faint.astype(np.uint8)]))

    train, validation = hidden(48, 1), hidden(24, 2)
    spec = ReaderSpec(network=ResNet(width=4), input="adaptive")
    fitted = fit(job(tmp_path, spec=spec, train=train.path, validation=validation.path))
    assert fitted.validation == fitted.train_accuracy == 1
    assert fitted.train_loss < 0.2, "what it learned from is not what it is tested on"


def test_statistics_are_moved_as_the_clips_are(tmp_path: Path) -> None:
    source = array(tmp_path, 16, 1)
    picture = source.clips(slice(0, 1))[0, :, :1]
    still = source.derive(tmp_path / "still.u8", iter([np.repeat(np.asarray(source.frames[:1])[:, :1], 2, 1)] * 16))
    feed = Feed(still, batch=8, seed=3)
    (moved,), _, _ = feed.draw()
    assert torch.equal(feed.moved(picture).expand_as(moved), moved) and not torch.equal(moved[0], moved[1])


def test_clips_stay_as_they_are_where_a_run_says_so(tmp_path: Path) -> None:
    source = array(tmp_path, 16, 1)
    (drawn,), _, _ = Feed(source, batch=16, seed=3, moves=Moves(shift=0, mirror=False)).draw()
    known = {clip.numpy().tobytes() for clip in source.clips(slice(None))}
    assert {clip.numpy().tobytes() for clip in drawn} == known


def test_a_feed_shows_every_clip_once_an_epoch_and_resumes_exactly(tmp_path: Path) -> None:
    source = array(tmp_path, 24, 1)
    feed = Feed(source, batch=8, seed=5, moves=Moves(shift=0))
    seen = torch.cat([feed.draw()[0][0].sum((1, 2, 3, 4)) for _ in range(3)])
    assert torch.allclose(
        seen.sort().values, source.clips(slice(None)).sum((1, 2, 3, 4)).sort().values, rtol=1e-4
    )
    again = Feed(source, batch=8, seed=5, moves=Moves(shift=0))
    again.load_state_dict(feed.state_dict())
    assert torch.equal(feed.draw()[0][0], again.draw()[0][0])


def test_aligned_arrays_are_moved_alike_and_strangers_refused(tmp_path: Path) -> None:
    source = array(tmp_path, 16, 1)
    twin = source.derive(tmp_path / "twin.u8", iter([np.asarray(source.frames)]))
    (one, other), _, _ = Feed(source, twin, batch=8, seed=0).draw()
    assert torch.equal(one, other)
    with pytest.raises(PrivadvError, match="same clips"):
        Feed(source, array(tmp_path, 16, 9), batch=8, seed=0)


def test_pixels_survive_the_way_to_float_and_back() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(12).reshape(1, 4, 16, 16, 3)
    assert np.array_equal(to_uint8(to_float(frames)), frames)


def test_a_split_arrives_from_the_store_as_it_was_written(store: Store, tmp_path: Path) -> None:
    made = clips(20, 1)
    task = Task(name="toy", classes=("a", "b"))
    clip_set = ClipSet(
        dataset="toy",
        synthetic=True,
        row="raw",
        geometry=GEOMETRY,
        encoding="raw",
        target=task,
        budget=task,
        splits={"train": write_shards(store, made, "raw", shard_bytes=5000)},
    )
    opened = open_split(store, clip_set, "train", tmp_path)
    assert np.array_equal(opened.frames, np.stack([clip.frames for clip in made]))
    assert opened.target.tolist() == [clip.target for clip in made] and opened.ids == tuple(
        clip.id for clip in made
    )
    with pytest.raises(PrivadvError, match="no clips in split 'val'"):
        open_split(store, clip_set, "val", tmp_path)


NETWORKS = (ResNet(width=4), Inception(width=8), DenseNet(growth=4, layers=1), R2Plus1D(width=4))
ATTACKERS = tuple(AttackerSpec(reader=ReaderSpec(network=network)) for network in NETWORKS)
TARGET = ReaderSpec(network=R2Plus1D(width=4))


def both(arrays: dict[str, ClipArray]) -> dict[Player, dict[str, ClipArray]]:
    """One set labels both tasks."""
    return {"target": arrays, "budget": arrays}


def suite(**changes: object) -> Suite:
    values = {
        "target": TARGET,
        "attackers": ATTACKERS,
        "seen": ("resnet",),
        "fit": FitConfig(steps=5, every=5),
        "raw_fit": FitConfig(steps=5, every=5),
    }
    return Suite.parse({**values, **changes}, "suite")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attackers": ATTACKERS[:3]}, "at least four attackers"),
        ({"attackers": (*ATTACKERS[:3], ATTACKERS[0])}, "twice"),
        ({"seen": ("resnet", "inception", "densenet")}, "unseen"),
        ({"chosen": {"planted:spatial": ("resnet/plain/scratch",)}}, "choose among"),
        ({"chosen": {"planted:spatial": ()}}, "nobody"),
        (
            {
                "attackers": tuple(
                    AttackerSpec(reader=ReaderSpec(network=ResNet(width=4), input=how), start=start)  # pyright: ignore
                    for how in ("plain", "adaptive")
                    for start in ("warm", "scratch")
                )
            },
            "two families",
        ),
    ],
)
def test_a_suite_that_could_fool_itself_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(PrivadvError, match=said):
        suite(**changes)


def test_a_row_is_attacked_from_raw_weights_and_by_the_strongest_only_where_that_is_asked(
    tmp_path: Path,
) -> None:
    arrays = {
        split: array(tmp_path, 16, seed) for seed, split in enumerate(("train", "val", "test"), start=1)
    }
    twice = suite(
        attackers=(*ATTACKERS, AttackerSpec(reader=ATTACKERS[0].reader, start="scratch")), strongest=2
    )
    raw_jobs = jobs(twice, "raw", both(arrays), None, (2, 2), {}, (), 0)
    assert [one.name for one in raw_jobs] == ["target", *(f"{n.family}/plain/scratch" for n in NETWORKS)]
    fitted = {one.name: one.fit(lambda _: None) for one in raw_jobs}
    results = [result(one, fitted[one.name], arrays["test"], twice) for one in raw_jobs]
    best = sorted(results[1:], key=lambda r: -r.validation)[0]
    warm = {name: one.weights for name, one in fitted.items()}
    down = jobs(twice, "down:8", both(arrays), both(arrays), (2, 2), warm, results[1:], 0)
    assert len(down) == 3 and best.name.replace("scratch", "warm") in {one.name for one in down}
    full = jobs(twice, "filter", both(arrays), both(arrays), (2, 2), warm, results[1:], 0)
    assert len(full) == 6
    chosen = suite(chosen={"planted:spatial": ("inception/plain/warm",)})
    planted = jobs(chosen, "planted:spatial", both(arrays), both(arrays), (2, 2), warm, results[1:], 0)
    assert [one.name for one in planted] == ["target", "inception/plain/warm"]
    by_name = {one.name: one for one in full if isinstance(one, FitJob)}
    assert (
        by_name["resnet/plain/scratch"].weights is None and by_name["resnet/plain/scratch"].ease_from is None
    )
    assert by_name["resnet/plain/warm"].weights == warm["resnet/plain/scratch"]
    assert by_name["target"].weights == warm["target"]


def test_an_attacker_s_own_training_is_its_own_whatever_it_starts_from(tmp_path: Path) -> None:
    arrays = {split: array(tmp_path, 16, seed) for seed, split in enumerate(("train", "val", "test"), start=1)}
    own, reader = FitConfig(steps=7), ATTACKERS[0].reader
    specs = [AttackerSpec(reader=reader, start=start, fit=own) for start in ("warm", "reconstruction", "nearest")]
    for attackers in (specs, specs[::-1]):
        attacked = suite(attackers=(*attackers, *ATTACKERS[1:]))
        assert not any(one.fit for one in attacked.raw_attackers())
        weights = fit(jobs(attacked, "raw", both(arrays), None, (2, 2), {}, (), 0)[1]).weights  # pyright: ignore
        warm = dict.fromkeys(["target", *(one.name for one in attacked.raw_attackers())], weights)
        made = jobs(attacked, "filter", both(arrays), both(arrays), (2, 2), warm, [], 0)
        assert [one.config.steps for one in made].count(7) == 3
    scratch = AttackerSpec(reader=reader, start="scratch", fit=own)
    for attackers in ((scratch, ATTACKERS[0]), (ATTACKERS[0], scratch)):
        assert suite(attackers=(*attackers, *ATTACKERS[1:])).raw_attackers()[0].fit == own


def test_the_maximum_is_over_all_attackers_and_unseen_ones_stand_beside_it(tmp_path: Path) -> None:
    arrays = {
        split: array(tmp_path, 16, seed) for seed, split in enumerate(("train", "val", "test"), start=1)
    }
    todo = jobs(suite(), "raw", both(arrays), None, (2, 2), {}, (), 0)
    results = [result(one, one.fit(lambda _: None), arrays["test"], suite()) for one in todo]
    attackers = [
        one.model_copy(update={"accuracy": value})
        for one, value in zip(results[1:], (0.9, 0.5, 0.7, 0.1), strict=True)
    ]
    assert row_metrics(results[0], attackers) == {
        "A_T": results[0].accuracy,
        "A_B_max": 0.9,
        "A_B_mean": pytest.approx(0.55),
        "A_B_max_unseen": 0.7,
    }
    assert [one.seen for one in attackers] == [True, False, False, False]


def test_a_release_drawn_several_times_goes_with_its_raw_clips(tmp_path: Path) -> None:
    raw = array(tmp_path, 16, 1)
    passes = [np.asarray(raw.frames), np.asarray(raw.frames) // 2]
    drawn = raw.derive(tmp_path / "drawn.u8", iter(passes), draws=2)
    assert len(drawn) == 32 and len(set(drawn.ids)) == 32 and drawn.ids[:16] == raw.ids
    assert drawn.goes_with(raw) and not raw.goes_with(drawn)
    feed = Feed(drawn, raw, batch=8, seed=0, moves=Moves(shift=0))
    ratios = set()
    for _ in range(4):
        (seen, original), _, _ = feed.draw()
        ratios |= {round(float(a.mean() / b.mean()), 1) for a, b in zip(seen, original, strict=True)}
    assert ratios == {0.5, 1.0}


def test_a_fit_in_half_precision_learns_the_same(tmp_path: Path) -> None:
    config = FitConfig(steps=60, every=20, lr=0.01, precision="bfloat16")
    half = fit(job(tmp_path, config=config))
    assert half.validation > 0.9 and half.weights != fit(job(tmp_path)).weights


def tinted(folder: Path, seed: int, count: int) -> tuple[ClipArray, ClipArray]:
    """Raw clips, and the same in negative: a filter that can be undone."""
    raw = array(folder, count, seed)
    return raw, raw.derive(folder / f"negative{seed}.u8", iter([255 - np.asarray(raw.frames)]))


def test_attackers_that_invert_mix_or_compare_read_a_negative(tmp_path: Path) -> None:
    pairs = {split: tinted(tmp_path, seed, 48) for seed, split in enumerate(("train", "val", "test"), start=1)}
    raw, stored = ({split: pair[i] for split, pair in pairs.items()} for i in (0, 1))
    reader = ReaderSpec(network=ResNet(width=8))
    extra = [AttackerSpec(reader=reader, start=start) for start in ("mixed", "reconstruction", "nearest")]
    config = FitConfig(steps=120, every=40, lr=0.01)
    asked = suite(attackers=(*ATTACKERS[1:], *extra), raw_fit=config, fit=config)
    todo = {one.name: one for one in jobs(asked, "raw", both(raw), None, (2, 2), {}, (), 0)}
    warm = {name: todo[name].fit(lambda _: None).weights for name in ("target", "resnet/plain/scratch")}
    warm |= dict.fromkeys((f"{n.family}/plain/scratch" for n in NETWORKS[1:]), b"")
    against = {one.name: one for one in jobs(asked, "filter", both(stored), both(raw), (2, 2), warm, (), 0)}
    starts = ("mixed", "reconstruction", "nearest")
    found = {name: against[f"resnet/plain/{name}"].fit(lambda _: None) for name in starts}
    read = {name: result(against[f"resnet/plain/{name}"], found[name], stored["test"], asked) for name in starts}
    assert read["mixed"].accuracy > 0.9 and read["reconstruction"].accuracy > 0.9
    assert read["nearest"].accuracy < 0.8, "its network never saw a negative"
    assert read["reconstruction"].metrics["psnr"] > 12 and 0 < read["reconstruction"].metrics["ssim"] <= 1
    assert tuple(one.start for one in read.values()) == starts and all(one.seen for one in read.values())
    alike = jobs(asked, "filter", both(raw), both(raw), (2, 2), warm, (), 0)[-1]
    assert result(alike, alike.fit(lambda _: None), raw["test"], asked).accuracy > 0.9


def test_comparing_a_training_clip_leaves_out_the_clip_that_it_was(tmp_path: Path) -> None:
    """Of labels that mean nothing an attacker fits no more than it guesses, though it holds every clip."""
    rng = np.random.default_rng(0)
    meaningless = [replace(clip, budget=int(rng.integers(0, 8))) for clip in clips(48, 1)]
    labelled = ClipArray.write(tmp_path / "labelled.u8", meaningless, 48, GEOMETRY)
    paths = dict.fromkeys(("train", "val", "test"), labelled.path)
    spec = ReaderSpec(network=ResNet(width=8))
    job = Nearest("resnet/plain/nearest", RawReader(spec, 8, save_weights(spec.build(8))), FitConfig(), 0, paths, paths)
    assert job.fit(lambda _: None).train_accuracy < 0.4


def test_mobilenets_of_different_width_are_one_family() -> None:
    widths = tuple(AttackerSpec(reader=ReaderSpec(network=MobileNet(width=w))) for w in (0.25, 0.5))
    with pytest.raises(PrivadvError, match="twice"):
        suite(attackers=(*ATTACKERS, *widths))


def test_clips_of_a_file_are_asked_for_as_those_of_an_array(tmp_path: Path) -> None:
    held = array(tmp_path, 12, 1)
    whole, frames = np.asarray(held.frames), held.frames
    assert whole.shape == frames.shape == (12, *GEOMETRY.shape) and whole.dtype == np.uint8
    for index in (0, -1, np.int64(5), slice(2, 7), slice(None, None, 5), slice(9, 99), slice(7, 2), [3, 3, 0], np.array([11])):
        assert np.array_equal(frames[index], whole[index]), index
    assert np.array_equal(np.stack(list(frames)), whole) and np.asarray(frames, float).dtype == float
    with pytest.raises(IndexError):
        frames[12]


def test_a_split_of_many_shards_arrives_whole_and_leaves_no_shard_behind(store: Store, tmp_path: Path) -> None:
    made = clips(40, 1)
    task = Task(name="toy", classes=("a", "b"))
    shards = write_shards(store, made, "raw", shard_bytes=3000)
    clip_set = ClipSet(dataset="toy", synthetic=True, row="raw", geometry=GEOMETRY, encoding="raw", target=task,
                       budget=task, splits={"train": shards})  # fmt: skip
    assert len(shards) > 2 * AHEAD
    opened = open_split(store, clip_set, "train", tmp_path)
    assert np.array_equal(opened.frames, np.stack([clip.frames for clip in made]))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".u8"]
    gone = clip_set.model_copy(update={"splits": {"train": (*shards[:9], shards[9].model_copy(
        update={"blob": shards[9].blob.model_copy(update={"sha256": "0" * 64, "key": "blobs/00/" + "0" * 64})})
    )}})  # fmt: skip
    with pytest.raises(PrivadvError, match="0000"):
        open_split(store, gone, "train", tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".u8"]
