"""Every shipped run is played once, with its own networks, algorithm and attackers, on few clips and with few updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playing import in_this_process, play
from small_datasets import make_all, selections

from privadv.config import load_yaml
from privadv.run_config import RunConfig
from privadv.store import Store

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
STAND_INS = {"sbu": "sbu", "ucf101": "ucf101", "hmdb51": "pa_hmdb51"}
FEW = {"steps": 1, "batch": 2, "every": 1}

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_all(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    in_this_process(monkeypatch)
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path_factory.getbasetemp() / "generated"))


def small(path: Path, roots: dict[str, str]) -> dict[str, Any]:
    """The run with 4 frames a clip and a round or two of one update, on stand-ins of its datasets, from no published weights."""
    data = load_yaml(path)
    clips, game, attack = data["extract_frames"], data["train_adversarial"], data["attack"]
    if clips["dataset"] in STAND_INS:
        clips.update(selections(roots)[STAND_INS[clips["dataset"]]])
    clips.update({"frames": 4, "workers": 1, "synthetic": {"train_takes": 1, "val_takes": 1, "test_takes": 1},
                  "attributes": {"photos": [6, 4, 4], "train_videos": 5, "annotated_videos": 1}})
    data["rows"] = [row for row in data["rows"] if row.startswith("planted")] + ["raw", "filter", "gray"]
    data["rows"].sort(key=["raw", "filter", "gray"].__contains__, reverse=True)
    data["pretrain_degradation"].update(steps=2, batch=2)
    for stage in ("pretrain_target", "pretrain_budget"):
        data[stage].update(fit=FEW, init=None)
    game["algorithm"].update({key: 1 for key in game["algorithm"] if key.endswith("steps") or key == "accumulate"}, rounds=2)
    game.update(batch=2, restart={"every": 1, "steps": 1})
    attack.update(raw_fit=FEW, fit=FEW, target_init=None)
    if attack.get("finals"):
        attack["finals"]["fit"] = FEW
    for reader in (attack["target"], data["pretrain_target"]["reader"]):
        if "size" in reader["network"]:
            reader["network"]["size"] = [4, *reader["network"]["size"][1:]]
    return data | {"report": {"resamples": 100}}


def check(config: RunConfig, store: Store) -> None:
    done = play(config, store)
    assert set(done.results) == set(config.rows)
    assert done.trained["game"].metrics["budget_restarted"] == 1
    for row in done.results.values():
        assert np.isfinite(list(row.metrics.values())).all() and row.attackers
        assert f"\n{row.row} " in done.report.table
    assert len(done.results["filter"].attackers) == len(config.attack.attackers)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_run_plays(path: Path, roots: dict[str, str], store: Store) -> None:
    check(RunConfig.parse(small(path, roots), path.name), store)


@pytest.mark.parametrize("name", ["sbu_kbeam", "hmdb51_pa_entropy"])
def test_the_seed_s_own_evaluation_plays(name: str, roots: dict[str, str], store: Store) -> None:
    """Its ten attackers at their full size, from no published weights; with attributes the seed's uniform target too."""
    data = small(next(path for path in CONFIGS if path.stem == name), roots)
    data["rows"] = ["raw", "filter", "gray"]
    data["attack"].update(profile="paper", paper={"imagenet": "scratch", "scratch_steps": 1, "batch": 2, "every": 1})
    if name.endswith("entropy"):
        data["train_adversarial"]["algorithm"]["sigmoid_target"] = "present"
    check(RunConfig.parse(data, name), store)
