"""Named weights: how they get their names, what is refused, and the stages that start from them."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
import typing
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file
from torchvision.models import get_model

from privadv import weights
from privadv.checkpoints import Checkpoints
from privadv.data.manifest import Clip, ClipSet, Geometry, Task
from privadv.data.shards import write_shards
from privadv.errors import PrivadvError
from privadv.evaluation.suite import AttackerSpec
from privadv.evaluation.two_fold import published
from privadv.import_tf import Imported, ImportedModel
from privadv.models.checkpoint import FilterRef, ReaderRef, Trained, save_weights
from privadv.models.clip import C3D
from privadv.models.degradation import Release
from privadv.models.frame import ResNet
from privadv.models.library import Torchvision
from privadv.models.reader import Network, ReaderSpec
from privadv.models.shelf import NamedModel, Shelf, begin
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.transform_net import TfTransformNet
from privadv.stages import pretrain_budget, pretrain_degradation, pretrain_target, train_adversarial
from privadv.stages.pretraining import Settings
from privadv.stages.stage import StageContext
from privadv.store import Blob, Store
from privadv.training import FitConfig

FILTER = TfTransformNet(width=2, blocks=1)
TARGET = ReaderSpec(network=TfC3D(width=2, dense=4, size=(4, 16, 16)))
BUDGET = ReaderSpec(network=TfMobileNet(width=0.25, decay=0.999, statistics="batch", reads="unit"))
NOISY = Release(noise=0.1)
FIVE = {"degradation": (FILTER, None), "target": (TARGET, 2), "budget_0": (BUDGET, 3), "budget_1": (BUDGET, 3)}


def named(spec: Any, classes: int | None, source: str = "here") -> tuple[NamedModel, bytes]:
    data = save_weights(spec.build(classes) if classes else spec.build())
    blob = Blob(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    kind = "reader" if classes else "filter"
    return NamedModel(kind=kind, spec=spec.model_dump(mode="json"), classes=classes, weights=blob, source=source), data


def an_import(folder: Path, seed: int = 5, roles: dict[str, Any] = FIVE) -> Path:
    """What import_tf leaves of a small game."""
    folder.mkdir()
    torch.manual_seed(seed)
    models = {}
    for role, (spec, classes) in roles.items():
        model, data = named(spec, classes)
        models[role] = ImportedModel(**model.model_dump(), file=f"{role}.safetensors")
        (folder / f"{role}.safetensors").write_bytes(data)
    (folder / "manifest.json").write_text(Imported(models=models, dropped={}).model_dump_json())
    return folder


@pytest.fixture
def shelf(store: Store) -> Shelf:
    return Shelf(store)


def test_an_import_gets_a_name_and_keeps_it(shelf: Shelf, tmp_path: Path) -> None:
    folder = an_import(tmp_path / "game-k2")
    assert weights.add(shelf, folder, None) == [f"game-k2/{role}" for role in FIVE]
    assert weights.add(shelf, folder / "manifest.json", "game-k2") == [f"game-k2/{role}" for role in FIVE]
    assert list(shelf.names()) == sorted(f"game-k2/{role}" for role in FIVE)
    other = an_import(tmp_path / "other")
    (other / "budget_0.safetensors").write_bytes((folder / "budget_1.safetensors").read_bytes())
    with pytest.raises(PrivadvError, match="not those of its manifest"):
        weights.add(shelf, other, "third")
    with pytest.raises(PrivadvError, match="is the name of other weights"):
        weights.add(shelf, an_import(tmp_path / "later", seed=6), "game-k2")


@pytest.mark.parametrize("name", ["Game", "a/b", "", "../up", "a" * 70])
def test_a_name_is_a_plain_one(name: str, shelf: Shelf) -> None:
    with pytest.raises(PrivadvError, match="is no name for weights"):
        shelf.add(name, "target", *named(TARGET, 2))


def test_what_is_not_there_names_the_command_that_adds_it(shelf: Shelf) -> None:
    said = r"no weights named 'imagenet/resnet_v1_50'.*privadv\.weights add FILE --name imagenet"
    with pytest.raises(PrivadvError, match=said):
        shelf.find("imagenet", "resnet_v1_50")


def context(store: Store) -> StageContext:
    class Silent:
        def metrics(self, values: dict[str, float], step: int | None = None) -> None: ...
        def child(self, *_: Any) -> Any:
            return nullcontext(self)

    return StageContext(store, cast(Any, Silent()), Checkpoints(store, "weights"), workers=1)


def clip_set(store: Store) -> ClipSet:
    rng, geometry, splits = np.random.default_rng(0), Geometry(frames=4, height=16, width=16), {}
    for split in ("train", "val", "test"):
        clips = [
            Clip(f"{split}{i}", rng.integers(0, 255, geometry.shape).astype(np.uint8), i % 2, i % 3, f"{split}{i}", (0,) * 4)
            for i in range(6)
        ]
        splits[split] = write_shards(store, clips, "raw")
    target, budget = Task(name="action", classes=("a", "b")), Task(name="pair", classes=("x", "y", "z"))
    return ClipSet(
        dataset="toy", synthetic=True, row="raw", geometry=geometry, encoding="raw", splits=splits, target=target, budget=budget
    )  # fmt: skip


def pretrained(
    store: Store, name: str, readers: tuple[ReaderSpec, ...] = (BUDGET, BUDGET), release: Release = NOISY
) -> tuple[ClipSet, Trained, Trained, Trained]:
    """All pretraining stages, out of the weights ``name`` alone."""
    clips, around = clip_set(store), context(store)
    first = pretrain_degradation.Config(network=FILTER.model_copy(update={"release": release}), start_from=name)
    degradation = pretrain_degradation.run(first, clips, 0, around)
    second = pretrain_target.Config(reader=TARGET, start_from=name)
    target = pretrain_target.run(second, clips, degradation, 0, around)
    third = pretrain_budget.Config(readers=readers, start_from=name)
    return clips, degradation, target, pretrain_budget.run(third, clips, degradation, 0, around)


def test_stages_that_start_from_weights_publish_them_untouched(shelf: Shelf, tmp_path: Path) -> None:
    folder = an_import(tmp_path / "game")
    weights.add(shelf, folder, "game")
    clips, degradation, target, budget = pretrained(shelf.store, "game")
    assert degradation.degradation.spec.release.noise == 0.1
    refs: dict[str, FilterRef | ReaderRef] = {**degradation.models, **target.models, **budget.models}
    assert set(refs) == set(FIVE)
    for role, ref in refs.items():
        assert shelf.store.get(ref.weights) == (folder / f"{role}.safetensors").read_bytes()
    assert 0 <= target.metrics["target_val_accuracy"] <= 1 and degradation.metrics["psnr"] > 0
    config = train_adversarial.Config(start_from="game", release=Release(levels=4), batch=4)
    game = train_adversarial.run(config, clips, degradation, target, budget, 0, context(shelf.store))
    assert {role: ref.weights for role, ref in game.models.items()} == {role: ref.weights for role, ref in refs.items()}
    assert game.degradation.spec.release.levels == 4


def test_a_filter_of_colours_is_not_released_gray_nor_the_other_way(shelf: Shelf, tmp_path: Path) -> None:
    colour = FILTER.model_copy(update={"release": Release(gray=False)})
    weights.add(shelf, an_import(tmp_path / "game", roles=FIVE | {"degradation": (colour, None)}), "game")
    stages = pretrained(shelf.store, "game", release=Release(gray=False, noise=0.1))
    assert stages[1].degradation.spec.release == Release(gray=False, noise=0.1)
    said = r"release\.gray is True in the configuration and False in the weights"
    with pytest.raises(PrivadvError, match=said):
        pretrained(shelf.store, "game")
    config = train_adversarial.Config(start_from="game", release=Release(), batch=4)
    with pytest.raises(PrivadvError, match=said):
        train_adversarial.run(config, *stages, 0, context(shelf.store))
    weights.add(shelf, an_import(tmp_path / "gray"), "gray")
    config = config.model_copy(update={"start_from": "gray"})
    game = train_adversarial.run(config, *stages, 0, context(shelf.store))
    assert game.degradation.spec.release == Release()


def test_no_family_that_an_imported_filter_was_trained_against_can_count_as_unseen(shelf: Shelf, tmp_path: Path) -> None:
    resnet = ReaderSpec(network=ResNet(width=4, stages=1))
    roles = {"degradation": (FILTER, None), "target": (TARGET, 2), "budget_0": (resnet, 3), "mobilenet_v1_0.25": (BUDGET, 3)}
    weights.add(shelf, an_import(tmp_path / "game", roles=roles), "game")
    stages = pretrained(shelf.store, "game", (resnet, BUDGET))
    said = r"against game/mobilenet_v1_0\.25, too, and no mobilenet plays.*name mobilenet in attack\.seen$"
    for name in ("game", None):
        config = train_adversarial.Config(start_from=name, models=1, batch=4)
        with pytest.raises(PrivadvError, match=said):
            train_adversarial.run(config, *stages, 0, context(shelf.store))
    config = train_adversarial.Config(start_from="game", batch=4)
    assert len(train_adversarial.run(config, *stages, 0, context(shelf.store)).budget) == 2


def test_what_was_not_saved_with_a_filter_was_not_trained_against_it(shelf: Shelf) -> None:
    own, data = named(FILTER, None, "reconstruction")
    for role, (spec, classes) in FIVE.items():
        shelf.add("tree", role, *((own, data) if role == "degradation" else named(spec, classes, f"{role} alone")))
    alone = FilterRef(spec=FILTER, weights=own.weights)
    assert shelf.opponents(alone) == {}
    shelf.add("tree", "budget_2", *named(BUDGET, 3, "reconstruction"))
    assert shelf.opponents(alone) == {"tree/budget_2": "mobilenet"}
    other = FilterRef(spec=FILTER, weights=named(FILTER, None)[0].weights)
    assert shelf.opponents(other) == {}


def test_another_network_other_classes_or_no_role_are_one_line(shelf: Shelf, tmp_path: Path) -> None:
    weights.add(shelf, an_import(tmp_path / "game"), "game")
    wider = ReaderSpec(network=TfMobileNet(width=0.5))
    with pytest.raises(PrivadvError, match=r"network\.width is 0.5 in the configuration and 0.25 in the weights"):
        shelf.imported("game", ["budget_0"], wider, 3)
    own, _ = shelf.imported("game", ["budget_0"], ReaderSpec(network=TfMobileNet(width=0.25, glimpse=2)), 3)
    assert own == ReaderSpec(network=TfMobileNet(width=0.25, glimpse=2, decay=0.999, statistics="batch", reads="unit"))
    dropping = ReaderSpec(network=TARGET.network.model_copy(update={"dropout": 0.5}))
    assert shelf.imported("game", ["target"], dropping, 2)[0] == dropping
    with pytest.raises(PrivadvError, match="tells 2 classes apart, the data have 8"):
        shelf.imported("game", ["target"], TARGET, 8)
    with pytest.raises(PrivadvError, match="no weights named 'game/budget_2'"):
        shelf.imported("game", ["budget_2"], BUDGET, 3)
    with pytest.raises(ValueError, match="name one of them"):
        Settings(start_from="game", init="imagenet")


def test_a_reader_begins_with_all_but_the_last_layer(shelf: Shelf) -> None:
    slim = ReaderSpec(network=TfMobileNet(width=0.25))
    model, data = named(slim, 11)
    shelf.add("imagenet", "mobilenet_v1_0.25", model, data)
    own = ReaderSpec(network=TfMobileNet(width=0.25, reads="unit", glimpse=2))
    begun, published_one = own.build(3), slim.build(11)
    begun.load_state_dict(torch_of(begin(shelf, "imagenet", own, 3, seed=1)))
    published_one.load_state_dict(torch_of(data))
    theirs = published_one.state_dict()
    for name, value in begun.state_dict().items():
        assert ("logits" in name) or torch.equal(value, theirs[name])
    assert begun.state_dict()["network.network.logits.weights"].shape[0] == 3
    with pytest.raises(PrivadvError, match="no published weights"):
        begin(shelf, "imagenet", ReaderSpec(network=C3D()), 3, 0)
    attackers = [AttackerSpec(reader=own, start="imagenet"), AttackerSpec(reader=BUDGET, start="scratch")]
    assert list(published(attackers, shelf, 3, 0)) == ["mobilenet_v1_0.25/plain/imagenet"]
    missing = [AttackerSpec(reader=ReaderSpec(network=TfMobileNet(width=w)), start="imagenet") for w in (1.0, 0.25, 0.5)]
    with pytest.raises(PrivadvError, match=r"no ImageNet weights of mobilenet_v1_0.5, mobilenet_v1_1 .*imagenet: scratch"):
        published(missing, shelf, 3, 0)


def torch_of(data: bytes) -> dict[str, torch.Tensor]:
    return load(data)


def test_sports1m_fills_all_but_the_last_two_layers(shelf: Shelf) -> None:
    model, data = named(TARGET, 487)
    shelf.add("sports1m", "sports1m", model, data)
    begun, theirs = torch_of(begin(shelf, "sports1m", TARGET, 2, seed=3)), torch_of(data)
    same = {name.removeprefix("network.") for name in begun if torch.equal(begun[name], theirs.get(name, torch.zeros(0)))}
    assert {"wc1", "bc5b", "wd1"} <= same and not {"wd2", "wout"} & same


def test_a_training_stage_begins_with_published_weights(shelf: Shelf) -> None:
    model, data = named(TARGET, 487)
    shelf.add("sports1m", "sports1m", model, data)
    fit = FitConfig(steps=1, lr=1e-9, weight_decay=0)
    config = pretrain_target.Config(view="raw", reader=TARGET, init="sports1m", fit=fit)
    torch.manual_seed(1)
    degradation = pretrain_degradation.run(
        pretrain_degradation.Config(network=FILTER, steps=0), clip_set(shelf.store), 0, context(shelf.store)
    )
    ref = pretrain_target.run(config, clip_set(shelf.store), degradation, 0, context(shelf.store)).target
    trained, theirs = torch_of(shelf.store.get(ref.weights)), torch_of(data)
    assert torch.allclose(trained["network.wc3b"], theirs["network.wc3b"], atol=1e-6)


def library_file(path: Path, name: str = "mobilenet_v3_small") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = get_model(name, num_classes=1000).state_dict()
    save_file(state, path)
    return state


def test_a_safetensors_file_of_the_library(shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mobilenet.safetensors"
    state = library_file(path)
    with pytest.raises(PrivadvError, match="--network NAME"):
        weights.add(shelf, path, None)
    with pytest.raises(PrivadvError, match="not the weights of resnet18"):
        weights.add(shelf, path, None, "resnet18")
    assert weights.add(shelf, path, None, "mobilenet_v3_small") == ["imagenet/mobilenet_v3_small"]
    spec = ReaderSpec(network=Torchvision(name="mobilenet_v3_small"))
    begun = torch_of(begin(shelf, "imagenet", spec, 5, seed=0))
    assert torch.equal(begun["network.network.network.features.0.0.weight"], state["features.0.0.weight"])
    weights.show(shelf)
    assert "imagenet/mobilenet_v3_small: mobilenet_v3_small, 1000 classes" in capsys.readouterr().out
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    save_file({"fc.weight": torch.tensor(1.0)}, tmp_path / "flat.safetensors")
    with pytest.raises(PrivadvError, match="lack its last layer"):
        weights.add(shelf, tmp_path / "flat.safetensors", None, "resnet18")
    for file, said in (("broken.safetensors", "no safetensors file"), ("a.pth", "pickle"), ("b.ckpt", "no such file")):
        if said == "pickle":
            (tmp_path / file).write_bytes(b"")
        with pytest.raises(PrivadvError, match=said):
            weights.add(shelf, tmp_path / file, None, "resnet18")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A server on loopback that has the library's file under its hash, as the library's own has."""
    (tmp_path / "www").mkdir()
    torch.manual_seed(0)
    torch.save(get_model("mobilenet_v3_small", num_classes=1000).state_dict(), tmp_path / "www" / "plain.pth")
    data = (tmp_path / "www" / "plain.pth").read_bytes()
    name = f"mobilenet-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (tmp_path / "www" / name).write_bytes(data)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{name}"
        server.shutdown()


def test_a_library_network_by_name_is_downloaded_or_said_to_be_out_of_reach(
    shelf: Shelf, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listed:
        url = mirror

    monkeypatch.setattr(weights, "get_model_weights", lambda name: [Listed])
    assert weights.add(shelf, Path("mobilenet_v3_small"), None) == ["imagenet/mobilenet_v3_small"]
    Listed.url = "http://127.0.0.1:9/mobilenet-00000000.pth"
    with pytest.raises(PrivadvError, match=r"cannot be downloaded .*--network mobilenet_v3_small") as caught:
        weights.add(shelf, Path("mobilenet_v3_small"), "again")
    assert "\n" not in str(caught.value)


def test_the_command_says_a_mistake_in_one_line(
    store_environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(tmp_path / "workspace")]
    assert weights.main([*workspace, "list"]) == 0
    assert "no weights yet" in capsys.readouterr().out
    assert weights.main([*workspace, "add", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert weights.main([*workspace, "add", str(an_import(tmp_path / "game"))]) == 0
    assert weights.main([*workspace, "list"]) == 0
    assert "game/budget_1: tf_mobilenet, 3 classes" in capsys.readouterr().out


def test_a_run_that_was_played_elsewhere_is_told_as_such(shelf: Shelf, tmp_path: Path) -> None:
    elsewhere = {"sha256": "0" * 64, "bytes": 9}
    (tmp_path / "report.json").write_text(json.dumps({"evidence": [elsewhere]}))
    with pytest.raises(PrivadvError, match=r"report\.json: the store here lacks .* workspace that played it"):
        weights.add(shelf, tmp_path, "old")


def test_an_import_of_other_or_no_models_is_one_line(shelf: Shelf, tmp_path: Path) -> None:
    manifest = an_import(tmp_path / "game") / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["models"]["target"]["spec"]["colour"] = "red"
    manifest.write_text(json.dumps(facts))
    with pytest.raises(PrivadvError, match=rf"{tmp_path}/game, target: unknown key 'colour'"):
        weights.add(shelf, tmp_path / "game", None)
    manifest.write_text(json.dumps({**facts, "models": {}}))
    with pytest.raises(PrivadvError, match=r"manifest\.json: the import holds no model"):
        weights.add(shelf, tmp_path / "game", None)


def test_looking_makes_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT", raising=False)
    assert weights.main(["--workspace", str(tmp_path / "typo"), "list"]) == 2
    assert f"{tmp_path}/typo holds no store: name another --workspace" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_every_published_network_says_where_its_weights_lie() -> None:
    for kind in typing.get_args(typing.get_args(Network)[0]):
        spec = kind(name="resnet50") if kind is Torchvision else kind()
        assert ReaderSpec(network=spec).published or kind.__module__ in ("privadv.models.frame", "privadv.models.clip")
