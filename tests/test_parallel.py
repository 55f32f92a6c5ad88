"""Two ranks compute what one process does with the joint batch, decide alike, and end together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from privadv.algorithms.base import Batch, Players
from privadv.algorithms.entropy import EntropyConfig
from privadv.algorithms.grl import GRLConfig
from privadv.algorithms.kbeam import KBeamConfig
from privadv.algorithms.restart import RestartConfig, Restarting
from privadv.algorithms.uniform import UniformConfig
from privadv.code_version import PROJECT, code_version
from privadv.data.feeds import ClipArray, Feed
from privadv.data.manifest import Clip, Geometry
from privadv.errors import PrivadvError
from privadv.models.checkpoint import Trained
from privadv.models.clip import R2Plus1D
from privadv.models.degradation import Release, TransformNet
from privadv.models.frame import ResNet, Vgg
from privadv.models.reader import ReaderSpec
from privadv.models.tensorflow import same
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.same import BatchNorm, Norm
from privadv.parallel.gradients import shared
from privadv.parallel.group import gathered, group, rank, require_equal, rows
from privadv.parallel.layers import joint
from privadv.stages.rank import ReadingStore
from privadv.stages.train_adversarial import GameFeeds
from privadv.store import Store
from privadv.training import FitConfig, FitJob, fit, predict
from tests.test_train_adversarial import clip_set

GEOMETRY = Geometry(frames=4, height=16, width=16)
GAMES = {
    "uniform": UniformConfig(fool_steps=2, min_steps=3, pool_batches=2),
    "uniform rate": UniformConfig(fool_steps=1, min_steps=2, pool_batches=2, rate=2.0),
    "uniform maximum": UniformConfig(fool_steps=1, min_steps=2, pool_batches=2, fool="maximum"),
    "kbeam": KBeamConfig(max_steps=2, min_steps=2, target_steps=2, accumulate=2, target_bar=1.1),
    "entropy": EntropyConfig(target_steps=2, budget_steps=2, target_bar=1.1, reconstruction=0.5),
    "grl": GRLConfig(rounds=2, steps=2),
    "grl alternating": GRLConfig(rounds=2, steps=2, form="alternating"),
}
PLAIN = (Vgg(width=4), ResNet(width=4, norm="group", glimpse=2))
NORMED = (ResNet(width=4), TfMobileNet(width=0.1, statistics="batch"))


def array(folder: Path, count: int, seed: int) -> ClipArray:
    rng = np.random.default_rng(seed)
    clips = [
        Clip(f"{seed}-{i}", rng.integers(0, 255, GEOMETRY.shape).astype(np.uint8), i % 2, i % 3, f"{i}", (0,) * 4)
        for i in range(count)
    ]
    path = folder / f"{seed}.u8"
    return ClipArray.open(path) if path.exists() else ClipArray.write(path, clips, count, GEOMETRY)


class Precise(GameFeeds):
    """In double precision, where only a mistake makes a difference."""

    def target(self) -> Batch:
        clips, labels = super().target()
        return clips.double(), labels

    def budget(self) -> Batch:
        clips, labels = super().budget()
        return clips.double(), labels

    def validation(self):
        for clips, labels in super().validation():
            yield clips.double(), labels


def game(folder: Path, name: str, networks: tuple[Any, ...]) -> dict[str, Tensor]:
    """Weights, buffers, last gradients and metrics of two rounds with a restart between them."""
    torch.manual_seed(1)
    small = TransformNet(width=4, blocks=1, kernel=3, release=Release(noise=0.1)).build()
    budget = nn.ModuleList(ReaderSpec(network=one).build(3) for one in networks)
    players = Players(small.double(), ReaderSpec(network=R2Plus1D(width=4)).build(2).double(), budget.double())
    modules = nn.ModuleDict({"filter": players.degradation, "target": players.target, "budget": players.budget})
    joint(modules)
    algorithm = GAMES[name].build(players)
    for optimizer in algorithm.optimizers().values():
        shared(optimizer)
    algorithm = Restarting(RestartConfig(every=1, steps=1), algorithm)
    feeds = Precise(array(folder, 24, 1), array(folder, 11, 2), batch=8, seed=3)
    metrics = [torch.tensor(list(algorithm.update(feeds).values())) for _ in range(2)]
    gradients = {f"grad {n}": p.grad for n, p in modules.named_parameters() if p.grad is not None}
    return {**modules.state_dict(), **gradients, "metrics": torch.cat(metrics), "random": torch.get_rng_state()}


def fitted(folder: Path) -> dict[str, Tensor]:
    """A fit with dropout, in single precision."""
    train, validation = array(folder, 24, 1), array(folder, 11, 2)
    spec = ReaderSpec(network=R2Plus1D(width=4))
    config = FitConfig(steps=3, every=1, batch=8, patience=1, lr=1e-3)
    made = fit(FitJob("reader", "budget", spec, 3, config, 5, train.path, validation.path, test=validation.path))
    return {"losses": torch.tensor([value for _, value in made.curves["train_loss"]])}


def depth(folder: Path) -> dict[str, Tensor]:
    """Which of 8 clips torchvision's networks leave out."""
    torch.manual_seed(4)
    layer = joint(StochasticDepth(0.5, "row"))
    return {"kept": torch.cat([gathered([layer(torch.ones(8, 1, 1, 1)[rows(8)])]) for _ in range(3)])}


def logits(folder: Path) -> dict[str, Tensor]:
    """What ranks read of 11 clips each in part."""
    torch.manual_seed(2)
    return {"logits": predict(ReaderSpec(network=Vgg(width=4)).build(3), array(folder, 11, 2))}


EXPERIMENTS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    **{name: lambda folder, name=name: game(folder, name, PLAIN) for name in GAMES},
    "batch norm": lambda folder: game(folder, "uniform", NORMED),
    "fit": fitted,
    "predict": logits,
    "depth": depth,
}


def complaint(action: Callable[[], object]) -> str:
    try:
        action()
    except PrivadvError as error:
        return str(error)
    return ""


def as_a_rank(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    with group():
        made: dict[str, Any] = {name: experiment(folder) for name, experiment in EXPERIMENTS.items()}
        parted = nn.Linear(1, 1)
        nn.init.constant_(parted.weight, rank())
        made["parted"] = complaint(lambda: require_equal([parted], "game"))
        made["odd"] = complaint(lambda: Feed(array(folder, 24, 1), batch=7, seed=0))
        torch.save(made, folder / f"rank{rank()}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A folder of clips, and what two processes made of them."""
    folder = tmp_path_factory.mktemp("ranks")
    for count, seed in ((24, 1), (11, 2)):
        array(folder, count, seed)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code = f"from tests.test_parallel import *; as_a_rank(Path({str(folder)!r}))"
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT, env={**os.environ, **common, "RANK": number, "LOCAL_RANK": number}
        )
        for number in ("0", "1")
    ]
    assert [process.wait() for process in started] == [0, 0]
    return folder, [torch.load(folder / f"rank{number}.pt") for number in (0, 1)]


@pytest.mark.parametrize("name", [*GAMES, "batch norm"])
def test_two_ranks_play_the_game_of_one_process_with_the_joint_batch(
    name: str, ranks: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, (first, second) = ranks
    alone = EXPERIMENTS[name](folder)
    assert first[name].keys() == alone.keys() and any(key.startswith("grad") for key in alone)
    for key, expected in alone.items():
        assert torch.equal(first[name][key], second[name][key]), key
        torch.testing.assert_close(first[name][key], expected, rtol=1e-6, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")


def test_two_ranks_fit_as_one_process_and_decide_alike(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, second) = ranks
    torch.testing.assert_close(first["fit"]["losses"], fitted(folder)["losses"], rtol=1e-3, atol=1e-4)
    assert torch.equal(first["fit"]["losses"], second["fit"]["losses"])


def test_two_ranks_leave_out_the_clips_that_one_process_would(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, both = ranks
    expected = depth(folder)["kept"]
    assert expected.unique().tolist() == [0.0, 2.0] and all(torch.equal(one["depth"]["kept"], expected) for one in both)


def test_ranks_read_a_part_each_and_get_all_logits_in_order(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, both = ranks
    for one in both:
        torch.testing.assert_close(one["predict"]["logits"], logits(folder)["logits"])


def test_ranks_that_part_ways_or_cannot_share_a_batch_say_so(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    _, both = ranks
    assert [bool(one["parted"]) for one in both] == [False, True]
    assert all("7 clips cannot be cut into 2 equal parts" in one["odd"] for one in both)
    assert rows(7) == slice(0, 7)


def stage(store: Store, folder: Path, name: str, sabotage: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The stage pretrain_degradation as a component runs it; ``sabotage`` is Python that every process starts with."""
    (folder / "sitecustomize.py").write_text(f"import os\nif os.environ.get('RANK') == '1':\n    {sabotage or 'pass'}\n")
    config = {"network": {"width": 4, "blocks": 1, "kernel": 3}, "steps": 4, "batch": 8}
    task = ["pretrain_degradation", json.dumps(config), code_version("pretrain_degradation"), str(folder / f"{name}.json")]
    clips = store.put(clip_set(store).canonical().encode()).canonical()
    code = f"from privadv.stages.stage import execute; execute(*{task!r}, {{'clips': {clips!r}}}, seed=3)"
    settings = {
        "PYTHONPATH": str(folder), "PRIVADV_WORKSPACE": str(folder / name), "PRIVADV_TRACKING_WAIT": "0",
        "PRIVADV_RUN": name, "PRIVADV_WORKERS": "2", "PRIVADV_ACCELERATORS": "2", **environment,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={**os.environ, **settings}, capture_output=True, text=True
    )


def curve(store: Store, manifest: Path) -> Tensor:
    curves = json.loads(store.get(Trained.parse(manifest.read_text(), "manifest").curves))
    return torch.tensor([value for _, value in curves["train_psnr"]])


def test_a_stage_on_two_accelerators_leaves_what_it_leaves_on_one(store: Store, tmp_path: Path) -> None:
    done = stage(store, tmp_path, "two", PRIVADV_TRACKING_WAIT="120")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("pretrain_degradation: 4/4") == 1
    stage(store, tmp_path, "one", PRIVADV_ACCELERATORS="1")
    two, one = (curve(store, tmp_path / f"{name}.json") for name in ("two", "one"))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=0)
    runs = [key for key in store.keys("runs/two/") if "children" in key and "pretrain_degradation" in key]
    assert runs and len({key.rpartition("/")[2].split(".")[0] for key in runs}) == 1
    assert not [key for key in store.keys("checkpoints/") if "/steps/" in key]


def test_a_rank_that_stores_nothing_reads_what_it_has_made(store: Store) -> None:
    other = ReadingStore.from_environment()
    blob = other.put(b"made by both")
    assert other.get(blob) == b"made by both"  # the first rank may not have stored it yet
    with pytest.raises(PrivadvError, match="missing"):
        store.get(blob)
    assert other.get(store.put(b"of an earlier stage")) == b"of an earlier stage"


def test_batch_statistics_are_each_rank_s_own_where_nothing_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks read different numbers of batches then, and one would wait for ever for the other's."""
    layer, clips = BatchNorm(3, Norm(statistics="batch")), torch.rand(4, 3, 5, 5)
    alone = layer(clips)
    monkeypatch.setattr(same, "batch_norm", lambda *_: pytest.fail("waits for the other ranks"))
    torch.testing.assert_close(layer.eval()(clips), alone)


def test_an_error_on_one_rank_ends_the_stage_with_its_line(store: Store, tmp_path: Path) -> None:
    done = stage(store, tmp_path, "failing", "os.environ['PRIVADV_WORKERS'] = 'many'")
    assert done.returncode == 2
    assert done.stderr == (
        "privadv: pretrain_degradation: PRIVADV_WORKERS = 'many' is no number of processes: set 1 or more\n"
    )
    assert not (tmp_path / "failing.json").exists()


@pytest.mark.full
def test_a_killed_rank_ends_the_stage_and_says_which(store: Store, tmp_path: Path) -> None:
    deadly = "import signal, threading; threading.Timer(9, os.kill, (os.getpid(), signal.SIGKILL)).start()"
    done = stage(store, tmp_path, "killed", deadly)
    assert done.returncode == 2 and done.stderr.startswith("privadv: pretrain_degradation: rank 1 was killed by SIGKILL")
