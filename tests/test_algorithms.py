"""Every algorithm keeps the contract, moves only whom it may move, and wins a game that can be won."""

from __future__ import annotations

import copy
import math
import typing
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privadv.algorithms import AnyAlgorithm, base, entropy, kbeam
from privadv.algorithms.base import Algorithm, AlgorithmConfig, Batch, Feeds, Players, frozen, recovery
from privadv.algorithms.entropy import EntropyConfig
from privadv.algorithms.grl import GRL, GRLConfig, reverse
from privadv.algorithms.kbeam import KBeam, KBeamConfig
from privadv.algorithms.restart import RestartConfig, Restarting, _forget
from privadv.algorithms.uniform import UniformConfig
from privadv.errors import PrivadvError
from privadv.models.clip import C3D, R2Plus1D
from privadv.models.degradation import Degradation, Release, TransformNet, TransformNetwork, rate, release
from privadv.models.frame import DenseNet, Inception, MobileNet, ResNet, Vgg
from privadv.models.library import Name, Torchvision
from privadv.models.losses import classification_loss, uniform_loss
from privadv.models.reader import Network, ReaderSpec
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.inception import TfInception
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.resnet import TfResNet
from tests.scalars import ScalarsRead

CONFIGS = [
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2),
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2, fool="maximum"),
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2, fool="mean"),
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2, rate=2.0),
    KBeamConfig(rounds=2, max_steps=2, min_steps=2, target_steps=2, accumulate=2, target_bar=1.1),
    EntropyConfig(rounds=2, target_steps=2, budget_steps=2, target_bar=1.1, reconstruction=0.5),
    GRLConfig(rounds=2, steps=2),
    GRLConfig(rounds=2, steps=2, form="alternating"),
    GRLConfig(rounds=2, steps=2, accumulate=2, decay_target=0.1),
    EntropyConfig(rounds=2, target_steps=2, budget_steps=2, target_bar=1.1, accumulate=3),
]


class Toy(Feeds):
    """Clips of 2 x 4 x 4 whose red channel shows the target label and whose blue channel shows the budget label."""

    def __init__(self, seed: int = 0, shared: bool = True) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.shared = shared

    def draw(self, count: int = 32) -> tuple[Tensor, Tensor, Tensor]:
        target, budget = (torch.randint(0, 2, (count,), generator=self.generator) for _ in range(2))
        clips = 0.5 + 0.02 * torch.randn(count, 3, 2, 4, 4, generator=self.generator)
        clips[:, 0] += 0.3 * (target * 2 - 1).view(-1, 1, 1, 1)
        clips[:, 2] += 0.3 * (budget * 2 - 1).view(-1, 1, 1, 1)
        return clips.clamp(0, 1), target, budget

    def target(self) -> Batch:
        clips, target, _ = self.draw()
        return clips, target

    def budget(self) -> Batch:
        clips, _, budget = self.draw()
        return clips, budget

    def validation(self) -> Iterator[Batch]:
        yield self.target()


class ManyLabels(Toy):
    """The toy with two attributes to hide: what blue shows, and its opposite."""

    def draw(self, count: int = 32) -> tuple[Tensor, Tensor, Tensor]:
        clips, target, budget = super().draw(count)
        return clips, target, torch.stack([budget, 1 - budget], 1)


class Mixer(Degradation):
    """A filter that can only mix channels: enough to win the toy game, and small enough to play it in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv3d(3, 3, 1)
        nn.init.eye_(self.mix.weight.data.view(3, 3))
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType]
        self.spec = SimpleNamespace(release=Release(gray=False, noise=0.05))

    def forward(self, clips: Tensor) -> Tensor:
        return self.paint(clips).clamp(0, 1)

    def paint(self, clips: Tensor) -> Tensor:
        return self.mix(clips)


def reader() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))


def players(budgets: int = 2) -> Players:
    torch.manual_seed(0)
    return Players(Mixer(), reader(), nn.ModuleList(reader() for _ in range(budgets)))  # pyright: ignore[reportArgumentType]


def teach(model: nn.Module, feeds: Feeds, updates: int) -> None:
    """Let a budget model learn the unfiltered clips."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(updates):
        clips, labels = feeds.budget()
        optimizer.zero_grad()
        classification_loss(model(clips), labels).backward()
        optimizer.step()


def moved(before: nn.Module, after: nn.Module) -> bool:
    return any(
        not torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )


every_algorithm = pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config.kind}-{getattr(config, 'fool', getattr(config, 'form', ''))}"
)


@every_algorithm
def test_update_keeps_the_contract(config: AlgorithmConfig) -> None:
    cast = players()
    before = copy.deepcopy(cast)
    algorithm = config.build(cast)
    metrics = algorithm.update(Toy())
    assert all(isinstance(value, float) for value in metrics.values())
    assert all(name.split("_")[0] in ("degradation", "target", "budget", "val") for name in metrics)
    assert moved(before.degradation, cast.degradation) and moved(before.target, cast.target)
    assert all(moved(a, b) for a, b in zip(before.budget, cast.budget, strict=True))
    assert all(parameter.requires_grad for model in cast.budget for parameter in model.parameters())


@every_algorithm
def test_no_step_waits_for_one_scalar(config: AlgorithmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = config.build(players())
    with ScalarsRead(monkeypatch) as read:
        algorithm.update(Toy())
    assert read.count == 0, "reported and decided values are read back together, by privadv.parallel.group"
    assert read.together


@pytest.mark.parametrize(("config", "more"), [
    (UniformConfig(fool_steps=1, min_steps=1), {"fool_steps": 4, "min_steps": 4}),
    (KBeamConfig(max_steps=1, min_steps=1, target_bar=0), {"max_steps": 4}),
    (EntropyConfig(fool_steps=1, budget_steps=1, target_bar=0), {"fool_steps": 4}),
    (GRLConfig(steps=1), {"steps": 4}),
], ids=lambda value: getattr(value, "kind", ""))
def test_a_longer_round_waits_no_oftener(
    config: AlgorithmConfig, more: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for one in (config, config.model_copy(update=more)):
        with ScalarsRead(monkeypatch) as read:
            one.build(players()).update(Toy())
        counts.append(read.together)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    "config",
    CONFIGS,
    ids=lambda config: f"{config.kind}-{getattr(config, 'fool', getattr(config, 'form', ''))}",
)
def test_a_resumed_game_goes_on_as_the_uninterrupted_one(config: AlgorithmConfig) -> None:
    def play(algorithm: Algorithm, feeds: Feeds) -> Tensor:
        torch.manual_seed(1)  # of a release's noise
        for _ in range(2):
            algorithm.update(feeds)
        cast = algorithm.players
        return torch.cat([p.detach().flatten() for one in (cast.degradation, cast.target, cast.budget) for p in one.parameters()])

    straight, feeds = config.build(players()), Toy()
    straight.update(feeds)
    cast = copy.deepcopy(straight.players)
    resumed = config.build(cast)
    for name, optimizer in resumed.optimizers().items():
        optimizer.load_state_dict(copy.deepcopy(straight.optimizers()[name].state_dict()))
    resumed.remember(straight.memory())
    state = feeds.generator.get_state()
    again = Toy()
    again.generator.set_state(state)
    assert torch.equal(play(straight, feeds), play(resumed, again))


@every_algorithm
def test_every_budget_model_has_an_optimizer_that_a_restart_empties(config: AlgorithmConfig) -> None:
    cast = players(budgets=3)
    algorithm = config.build(cast)
    assert [{id(p) for group in one.param_groups for p in group["params"]} for one in algorithm.budget] == [
        {id(p) for p in model.parameters()} for model in cast.budget]  # fmt: skip
    assert {id(one) for one in algorithm.budget} <= {id(one) for one in algorithm.optimizers().values()}
    restarting = Restarting(RestartConfig(every=1, steps=0), algorithm)
    assert restarting.update(Toy())["budget_restarted"] == 0 and restarting.update(Toy())["budget_restarted"] == 1


def test_every_algorithm_is_held_to_the_contract() -> None:
    listed = typing.get_args(typing.get_args(AnyAlgorithm)[0])
    assert {type(config) for config in CONFIGS} == set(listed)


def test_what_cannot_begin_anew_is_refused_and_attention_can() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3))

    attention = nn.TransformerEncoderLayer(8, 2)
    for tensor in attention.state_dict().values():
        tensor.fill_(7)
    attention.apply(_forget)
    assert not [name for name, tensor in attention.state_dict().items() if (tensor == 7).any()]
    cast = players()
    cast.budget.append(nn.Sequential(reader(), Token()))
    inner = UniformConfig().build(cast)
    with pytest.raises(PrivadvError, match=r"nothing draws 2\.1\.token of the budget models afresh"):
        Restarting(RestartConfig(), inner)
    Restarting(RestartConfig(start="pretrained"), inner)


def test_validation_sees_the_filter_that_ships() -> None:
    """In inference mode, where what learns in bfloat16 computes in float32."""
    cast, modes = players(), []
    cast.degradation.register_forward_hook(lambda module, *_: modes.append(module.training))
    base.validation_accuracy(cast, Toy())
    assert modes == [False] and cast.degradation.training and cast.target.training


def test_only_the_strongest_budget_model_is_fooled() -> None:
    cast = players(budgets=3)
    algorithm = UniformConfig(fool_steps=1).build(cast)
    algorithm.strongest = 1
    asked = []
    for k, model in enumerate(cast.budget):
        model.register_forward_hook(lambda *_, k=k: asked.append(k))
    algorithm._fool(Toy())
    assert asked == [1]


def test_fooling_moves_filter_and_target_but_no_budget_model() -> None:
    cast = players()
    before = copy.deepcopy(cast)
    UniformConfig(fool_steps=1).build(cast)._fool(Toy())
    assert moved(before.degradation, cast.degradation) and moved(before.target, cast.target)
    assert not moved(before.budget, cast.budget)


def test_kbeam_max_phase_moves_the_filter_alone_and_upwards() -> None:
    cast, feeds = players(), Toy()
    for model in cast.budget:
        teach(model, feeds, 60)
    before = copy.deepcopy(cast)
    algorithm = KBeamConfig(max_steps=20, lr_max=1e-2).build(cast)
    clips, labels = Toy(seed=9).budget()
    loss_before = classification_loss(cast.budget[0](cast.degradation(clips)), labels).item()
    algorithm._max(feeds)
    assert classification_loss(cast.budget[0](cast.degradation(clips)), labels).item() > loss_before + 0.1
    assert not moved(before.target, cast.target) and not moved(before.budget, cast.budget)


def test_kbeam_remembers_the_budget_model_of_the_lowest_loss() -> None:
    cast, feeds = players(budgets=3), Toy()
    teach(cast.budget[2], feeds, 80)
    algorithm = KBeamConfig(min_steps=1).build(cast)
    algorithm._min(feeds)
    assert algorithm.strongest == 2


def test_kbeam_stops_the_min_phase_at_the_bar_without_a_step() -> None:
    cast = players()
    before = copy.deepcopy(cast)
    metrics = KBeamConfig(min_steps=50, budget_bar=0.0).build(cast)._min(Toy())
    assert metrics["budget_steps"] == 1 and not moved(before.budget, cast.budget)


def fresh_accuracies(filter_: nn.Module) -> tuple[float, float]:
    """Of a new target reader and a new attacker, trained on the filtered toy clips, on fresh ones."""
    torch.manual_seed(123)
    fresh, feeds = [reader(), reader()], Toy(seed=77)
    optimizer = torch.optim.Adam([parameter for one in fresh for parameter in one.parameters()], 3e-2)
    for _ in range(100):
        clips, *labels = feeds.draw(128)
        with torch.no_grad():
            clips = filter_(clips)
        optimizer.zero_grad()
        losses = [F.cross_entropy(one(clips), wanted) for one, wanted in zip(fresh, labels, strict=True)]
        torch.stack(losses).sum().backward()
        optimizer.step()
    clips, *labels = Toy(seed=5).draw(512)
    said = [one(filter_(clips)).argmax(1) for one in fresh]
    target, budget = ((answers == wanted).float().mean().item() for answers, wanted in zip(said, labels, strict=True))
    return target, budget


GAMES = [
    UniformConfig(rounds=25, gamma=6.0, lr_degradation=1e-2, lr_target=1e-2, lr_budget=1e-2),
    KBeamConfig(rounds=30, max_steps=6, min_steps=20, target_steps=4, lr_max=1e-2, lr_min=3e-2, lr_target=1e-2),
    EntropyConfig(rounds=40, gamma=4.0, reconstruction=1.0, fool_steps=4, target_steps=5, target_bar=0.99, lr_degradation=1e-2,
                  lr_target=1e-2, budget_steps=15),
    GRLConfig(rounds=30, weight=2.0, ramp=False, lr_degradation=1e-2, lr_target=1e-2, lr_budget=3e-2),
    GRLConfig(rounds=30, weight=1.0, ramp=False, lr_degradation=1e-2, lr_target=3e-2, lr_budget=3e-2, form="alternating"),
]  # fmt: skip


def played(config: AlgorithmConfig, sign: float) -> nn.Module:
    """The filter, with the noise of its release, that the toy game leaves when privacy weighs ``sign`` times as much."""
    cast = players()
    noisy = _Noisy(cast.degradation)
    algorithm = config.build(Players(noisy, cast.target, cast.budget))  # pyright: ignore[reportArgumentType]
    weigh_privacy(algorithm, sign)
    feeds = Toy()
    for _ in range(config.rounds):
        algorithm.update(feeds)
    return noisy


def weigh_privacy(algorithm: Any, sign: float) -> None:
    """No user gets a negative weight: a copy of a config is not validated. K-beam weighs nothing, so its ascent is turned."""
    if isinstance(algorithm, KBeam):
        algorithm.ascent.param_groups[0]["lr"] *= sign
    else:
        weight = "weight" if isinstance(algorithm, GRL) else "gamma"
        algorithm.config = algorithm.config.model_copy(update={weight: sign * getattr(algorithm.config, weight)})


class _Noisy(Degradation):
    spec = SimpleNamespace(release=Release(gray=False))

    def __init__(self, filter_: nn.Module) -> None:
        super().__init__()
        self.filter_ = filter_

    def forward(self, clips: Tensor) -> Tensor:
        return self.paint(clips)

    def paint(self, clips: Tensor) -> Tensor:
        return self.filter_(clips) + 0.3 * torch.randn_like(clips)


every_game = pytest.mark.parametrize("config", GAMES, ids=lambda config: f"{config.kind}-{getattr(config, 'form', '')}")


@every_game
def test_the_toy_game_is_won_against_a_fresh_attacker(config: AlgorithmConfig) -> None:
    target, budget = fresh_accuracies(played(config, +1.0))
    assert target > 0.95 and budget < 0.62


def test_a_fresh_attacker_of_the_toy_game_reads_what_nobody_filters() -> None:
    assert fresh_accuracies(Mixer())[1] > 0.95


@pytest.mark.parametrize("sign", [0.0, -1.0])
@every_game
def test_the_toy_game_is_lost_without_privacy_s_term_and_with_its_sign_flipped(config: AlgorithmConfig, sign: float) -> None:
    """So that nobody wins it by the way, as a target does that paints so boldly that nothing else is left."""
    assert fresh_accuracies(played(config, sign))[1] > 0.9


def test_uniform_loss_is_kl_from_uniform_and_finite_when_saturated() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, -1.0, 0.5], [1e4, 0.0, 0.0, 0.0]])
    p = torch.softmax(logits[1].double(), 0)
    by_hand = sum(0.25 * (torch.log(torch.tensor(0.25)).double() - torch.log(q)) for q in p)
    losses = uniform_loss(logits)
    assert losses[0].item() == pytest.approx(0, abs=1e-6)
    assert losses[1].item() == pytest.approx(float(by_hand), rel=1e-5)
    assert torch.isfinite(losses).all()
    assert uniform_loss(torch.zeros(2, 5), multi_label=True).abs().max() < 1e-6
    quarter, three_quarters = [-math.log(3), 0.0], [math.log(3), 0.0]  # of the first of two attributes; nothing of the second
    one_half = (-math.log(1 / 4) - math.log(3 / 4)) / 2 - math.log(2)
    assert uniform_loss(torch.tensor([quarter, three_quarters]), True).tolist() == pytest.approx([one_half / 2] * 2)


def test_frozen_lets_gradients_through_to_the_input_only() -> None:
    model, clips = reader(), torch.rand(2, 3, 2, 4, 4, requires_grad=True)
    with frozen(model):
        model(clips).sum().backward()
    assert clips.grad is not None and all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_release_is_gray_noisy_quantised_and_differentiable() -> None:
    clips = torch.rand(2, 3, 4, 8, 8, requires_grad=True)
    stored = release(clips, Release(gray=True, noise=0.1, levels=4))
    assert torch.equal(stored[:, 0], stored[:, 2])
    assert torch.allclose(stored * 3, (stored * 3).round(), atol=1e-5)
    stored.sum().backward()
    assert clips.grad is not None and clips.grad.abs().max() > 0


@pytest.mark.parametrize("sees", [{}, {"motion": True}, {"motion": True, "appearance": False}])
@pytest.mark.parametrize(("stride", "coarse"), [(1, 1), (2, 1), (2, 2), (1, 4)])
def test_the_filter_keeps_shape_and_range_at_sizes_that_strides_do_not_divide(
    stride: int, coarse: int, sees: dict[str, Any]
) -> None:
    sizes: dict[str, Any] = {"stride": stride, "coarse": coarse}
    spec = TransformNet(width=4, blocks=1, kernel=3, **sees, **sizes)
    clips = torch.rand(2, 3, 3, 18, 22)
    filtered = spec.build()(clips)
    assert filtered.shape == clips.shape and filtered.min() >= 0 and filtered.max() <= 1


def test_a_skip_filter_starts_as_the_identity() -> None:
    clips = torch.rand(1, 3, 2, 16, 16)
    assert torch.equal(TransformNet(width=4, blocks=1, kernel=3, skip=True).build().paint(clips), clips)


def test_a_coarse_filter_sees_means_and_draws_between_them() -> None:
    """Squares of 2x2, in a frame of 5x5 the last ones cut; bilinear: three quarters of a square's own, one of its neighbour's."""
    filter_ = TransformNetwork(TransformNet(width=4, blocks=1, kernel=3, coarse=2))
    frame = torch.arange(25.0).view(1, 1, 5, 5)
    assert filter_._coarse(frame)[0, 0].tolist() == [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]
    small = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)
    assert filter_._fine(small)[0, 0].tolist() == [[0, 1, 3, 4]] * 2
    clips, inside = torch.rand(1, 3, 2, 16, 16), torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(8, 8)
    torch.testing.assert_close(filter_.paint(clips), filter_.paint(clips + inside))


def test_a_moving_filter_looks_back_and_never_ahead() -> None:
    filter_ = (
        TransformNet(width=4, blocks=1, kernel=3, motion=True, release=Release(gray=False)).build().eval()
    )
    clips = torch.rand(1, 3, 4, 16, 16)
    changed = clips.clone()
    changed[:, :, 3] = torch.rand(3, 16, 16)
    assert torch.equal(filter_.paint(clips)[:, :, :3], filter_.paint(changed)[:, :, :3])


def test_a_filter_without_appearance_sees_what_changes_and_nothing_else() -> None:
    filter_ = TransformNet(width=4, blocks=1, kernel=3, motion=True, appearance=False).build().eval()
    clips, still = torch.rand(2, 3, 4, 16, 16, dtype=torch.float64), torch.rand(1, 3, 1, 16, 16, dtype=torch.float64)
    filter_.double()
    torch.testing.assert_close(filter_.paint(clips + still), filter_.paint(clips))
    assert not torch.equal(filter_.paint(clips * 0.5), filter_.paint(clips.flip(2)))
    for alone in ({}, {"motion": True, "skip": True}):
        with pytest.raises(PrivadvError, match="appearance: false leaves the filter motion alone to see"):
            TransformNet.parse({"appearance": False, **alone}, "network")


def test_without_appearance_pretraining_leads_to_a_picture_of_motion() -> None:
    """Middle grey where nothing moves, two deviations of a clip's changes as black and white; else to the clips themselves."""
    clips = torch.zeros(1, 3, 2, 4, 4)
    clips[:, :, 1, 0, 0], clips[:, :, 1, 3, 3] = 0.5, -0.25
    spread = (clips - torch.cat([clips[:, :, :1], clips[:, :, :1]], 2)).std((2, 3, 4))[0, 0] + 1e-3
    drawn = TransformNet(width=4, motion=True, appearance=False).build().picture(clips)
    assert drawn[0, :, 0].unique().tolist() == [0.5] and drawn[0, 0, 1, 0, 0] == 1
    torch.testing.assert_close(drawn[0, 1, 1, 3, 3], (0.5 - 0.25 / (4 * spread)).clamp(0, 1))
    assert TransformNet(width=4, motion=True).build().picture(clips) is clips


def test_the_reversal_layer_turns_the_gradient_round() -> None:
    x = torch.ones(3, requires_grad=True)
    reverse(2 * x, 0.5).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, torch.full((3,), -1.0))


def test_one_reversal_step_is_the_saddle_step_by_hand() -> None:
    cast = players()
    algorithm = GRLConfig(steps=1, ramp=False, weight=0.7).build(cast)
    twin = copy.deepcopy(cast)
    algorithm._joint(Toy())
    feeds = Toy()
    target_loss, budget_loss = losses_of_both(twin, feeds.target(), feeds.budget())
    assert_gradients(cast.degradation, target_loss - 0.7 * budget_loss, twin.degradation)
    assert_gradients(cast.target, target_loss, twin.target)
    assert_gradients(cast.budget, budget_loss, twin.budget)


def test_one_alternation_by_hand() -> None:
    """The readers learn first, each on a batch of its own; the filter then hides from what they have become."""
    cast = players()
    algorithm = GRLConfig(steps=1, ramp=False, weight=0.7, form="alternating").build(cast)
    twin = copy.deepcopy(cast)
    algorithm._alternate(Toy())
    feeds = Toy()
    budget_batch, target_batch = feeds.budget(), feeds.target()
    target_loss, budget_loss = losses_of_both(twin, target_batch, budget_batch)
    assert_gradients(cast.budget, budget_loss, twin.budget)
    assert_gradients(cast.target, target_loss, twin.target)
    learned = Players(twin.degradation, cast.target, cast.budget)
    target_loss, budget_loss = losses_of_both(learned, feeds.target(), feeds.budget())
    assert_gradients(cast.degradation, target_loss - 0.7 * budget_loss, twin.degradation)


def losses_of_both(cast: Players, target: Batch, budget: Batch) -> tuple[Tensor, Tensor]:
    """L_T, and the mean L_b of the ensemble."""
    each = [F.cross_entropy(model(cast.degradation(budget[0])), budget[1]) for model in cast.budget]
    return F.cross_entropy(cast.target(cast.degradation(target[0])), target[1]), torch.stack(each).mean()


def assert_gradients(mine: nn.Module, loss: Tensor, twin: nn.Module) -> None:
    """What ``mine`` was given are the gradients of ``loss`` with respect to ``twin``."""
    wanted = torch.autograd.grad(loss, list(twin.parameters()), retain_graph=True)
    for parameter, gradient in zip(mine.parameters(), wanted, strict=True):
        assert gradient.abs().max() > 0 and parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


@pytest.mark.parametrize("form", ["reversal", "alternating"])
def test_lambda_rises_over_the_whole_game(form: str) -> None:
    """2 / (1 + exp(-10 p)) - 1 is tanh(5 p)."""
    algorithm = GRLConfig(rounds=2, steps=5, weight=0.5, form=form).build(players())  # pyright: ignore[reportArgumentType]
    assert algorithm.weight == 0
    last_of_round = [algorithm.update(Toy())["degradation_weight"] for _ in range(2)]
    assert last_of_round == pytest.approx([0.5 * math.tanh(5 * 0.4), 0.5 * math.tanh(5 * 0.9)])
    assert algorithm.weight == pytest.approx(0.5 * 0.9999092)
    steady = GRLConfig(rounds=2, steps=5, weight=0.5, ramp=False).build(players())
    assert steady.weight == 0.5


class Halves(Toy):
    """Each batch of another toy in two halves, one after the other."""

    def draw(self, count: int = 32) -> tuple[Tensor, Tensor, Tensor]:
        if not hasattr(self, "left"):
            self.left: list[tuple[Tensor, ...]] = []
        if not self.left:
            whole = super().draw(count)
            self.left = [tuple(part[:half] if first else part[half:] for part in whole)
                         for half, first in ((count // 2, True), (count // 2, False))]  # fmt: skip
        one, other, third = self.left.pop(0)
        return one, other, third

    def validation(self) -> Iterator[Batch]:
        first, second = self.target(), self.target()
        yield torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])


@pytest.mark.parametrize("config", [
    EntropyConfig(budget_steps=1, target_steps=1, target_bar=1.1, gamma=1.0),
    GRLConfig(steps=1, form="alternating"),
    KBeamConfig(max_steps=1, min_steps=1, target_steps=1, target_bar=1.1, budget_bar=1.1),
], ids=lambda config: config.kind)  # fmt: skip
def test_accumulated_batches_make_one_update_of_them_all(config: AlgorithmConfig) -> None:
    casts, feeds = (players(), players()), (Toy(), Halves())
    for cast, feed, count in zip(casts, feeds, (1, 2), strict=True):
        config.model_copy(update={"accumulate": count}).build(cast).update(feed)
    modules = [(cast.degradation, cast.target, cast.budget) for cast in casts]
    for one, other in zip(*modules, strict=True):
        for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.allclose(mine, theirs, atol=2e-4)
    assert moved(modules[0][0], players().degradation)


def test_the_gradients_of_readers_over_two_batches_by_hand() -> None:
    cast = players()
    losses, rights = base.reading_gradients(cast, Halves(), 2)
    clips, labels = Toy().budget()
    for model, loss, right in zip(cast.budget, losses, rights, strict=True):
        said = model(cast.degradation(clips))
        assert loss.item() == pytest.approx(F.cross_entropy(said, labels).item())
        assert right.item() == (said.argmax(1) == labels).double().mean().item()
        assert_gradients(model, F.cross_entropy(said, labels), model)


def test_where_two_sets_label_the_tasks_entropy_fools_on_the_target_s() -> None:
    feeds = Toy(shared=False)
    feeds.budget = lambda: pytest.fail("a budget batch was drawn")  # pyright: ignore[reportAttributeAccessIssue]
    EntropyConfig().build(players())._fool(feeds)


def test_a_c3d_drops_only_while_it_learns_itself() -> None:
    network = TfC3D(size=(4, 16, 16), width=4, dense=8, dropout=0.5).build(2)
    clips = torch.rand(2, 3, 4, 16, 16)
    with frozen(network):
        assert torch.equal(network(clips), network(clips))
    assert not torch.equal(network(clips), network(clips))


def test_the_seed_s_reconstruction_term_fades_by_rounds() -> None:
    still = EntropyConfig(
        gamma=0.0, reconstruction=1000.0, lr_degradation=1e-2, target_steps=1, budget_steps=1
    )
    cast = players()
    torch.nn.init.constant_(cast.degradation.mix.bias, 0.2)  # pyright: ignore
    algorithm, feeds = still.build(cast), Toy()
    before = cast.degradation.mix.bias.abs().mean().item()  # pyright: ignore
    for _ in range(10):
        algorithm._fool(feeds)
    assert cast.degradation.mix.bias.abs().mean().item() < before  # pyright: ignore


@pytest.mark.parametrize("start", ["scratch", "pretrained"])
def test_restarting_renews_budget_models_and_their_optimizers_and_nobody_else(start: str) -> None:
    cast = players()
    first = copy.deepcopy(cast.budget.state_dict())
    config = RestartConfig(every=1, steps=0, start=start)  # pyright: ignore[reportArgumentType]
    algorithm = Restarting(config, UniformConfig(fool_steps=1, min_steps=3, pool_batches=1).build(cast))
    assert algorithm.update(Toy())["budget_restarted"] == 0
    before = copy.deepcopy(cast)
    algorithm._restart(Toy())
    assert moved(before.budget, cast.budget)
    assert not moved(before.degradation, cast.degradation) and not moved(before.target, cast.target)
    assert all(not optimizer.state for optimizer in algorithm.budget)
    same = all(
        torch.equal(a, b) for a, b in zip(first.values(), cast.budget.state_dict().values(), strict=True)
    )
    assert same == (start == "pretrained")
    assert algorithm.update(Toy())["budget_restarted"] == 1


@pytest.mark.parametrize(("config", "more"), [(UniformConfig(), {"round": 0}), (KBeamConfig(), {})], ids=["uniform", "kbeam"])
def test_after_a_restart_the_strongest_is_the_one_that_now_reads_best(config: AlgorithmConfig, more: dict[str, int]) -> None:
    cast, feeds = players(budgets=3), Toy()
    teach(cast.budget[2], feeds, 80)
    algorithm = Restarting(RestartConfig(steps=1, start="pretrained"), config.build(cast))
    assert algorithm.inner.memory() == {"strongest": 0, **more}
    algorithm._restart(feeds)
    assert algorithm.inner.memory() == {"strongest": 2, **more}


@pytest.mark.parametrize("config", [
    UniformConfig(lr_budget=1e-2, betas=(0.9, 0.999)), KBeamConfig(), EntropyConfig(), GRLConfig(),
], ids=lambda config: config.kind)  # fmt: skip
def test_a_restart_s_updates_by_hand_go_over_as_many_batches_as_the_algorithm_s(config: AlgorithmConfig) -> None:
    cast, feeds = players(), Toy()
    if hasattr(config, "accumulate"):
        config, feeds = config.model_copy(update={"accumulate": 2}), Halves()
    twin, by_hand = copy.deepcopy(cast), Toy()
    Restarting(RestartConfig(steps=3, start="pretrained"), config.build(cast))._restart(feeds)
    batches = [by_hand.budget() for _ in range(3)]
    for model in twin.budget:
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for clips, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(twin.degradation(clips)), labels).backward()
            optimizer.step()
    for mine, other in zip(cast.budget.parameters(), twin.budget.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=2e-4)
    assert torch.equal(feeds.budget()[0][:16], by_hand.budget()[0][:16]), "three whole batches were drawn"


@pytest.mark.parametrize("config", CONFIGS[:1] + CONFIGS[3:], ids=lambda config: f"{config.kind}")
@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_budget_models_and_many_labels(config: AlgorithmConfig, count: int) -> None:
    cast = players(budgets=count)
    cast.multi_label = True
    before = copy.deepcopy(cast)
    metrics = config.build(cast).update(ManyLabels())
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    assert all(moved(a, b) for a, b in zip(before.budget, cast.budget, strict=True))


def test_one_family_at_several_widths_and_several_families_play_together() -> None:
    torch.manual_seed(0)
    mixed = [
        MobileNet(width=0.25, depth=0),
        MobileNet(width=0.5, depth=0),
        ResNet(width=4, stages=1),
        TfMobileNet(width=0.25, statistics="batch"),
    ]
    models = nn.ModuleList(ReaderSpec(network=network).build(2) for network in mixed)  # pyright: ignore[reportArgumentType]
    cast = Players(Mixer(), reader(), models)  # pyright: ignore[reportArgumentType]
    before = copy.deepcopy(cast)
    metrics = EntropyConfig(rounds=1, target_steps=1, budget_steps=1, target_bar=1.1).build(cast).update(Toy())
    assert {f"budget_{k}_accuracy" for k in range(4)} <= set(metrics)
    assert all(moved(a, b) for a, b in zip(before.budget, cast.budget, strict=True))


def test_inner_loops_end_when_no_bar_is_ever_reached() -> None:
    never = KBeamConfig(max_steps=1, min_steps=3, target_steps=9, budget_bar=2.0, target_bar=2.0, patience=2)
    metrics = never.build(players()).update(Toy())
    assert metrics["budget_steps"] == 3 and 2 <= metrics["target_steps"] <= 9
    metrics = EntropyConfig(target_steps=4, budget_steps=3, target_bar=2.0, budget_bar=2.0).build(players()).update(Toy())
    assert (metrics["target_steps"], metrics["budget_steps"]) == (4, 3)


@pytest.mark.parametrize(("scores", "steps"), [
    ([0.85], 0),
    ([0.5, 0.84, 0.85, 0.9], 2),
    ([0.8, 0.7, 0.6, 0.5, 0.9], 3),
    ([0.5, 0.4, 0.4, 0.6, 0.6, 0.5, 0.55, 0.9], 6),
], ids=["good at once", "the bar", "falling", "a new best and then a plateau"])  # fmt: skip
def test_kbeam_s_target_phase_ends_at_the_bar_or_on_a_plateau(
    scores: list[float], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter(scores)
    monkeypatch.setattr(kbeam, "validation_accuracy", lambda *_: next(measured))
    metrics = KBeamConfig(patience=3).build(players())._target(Toy())
    assert (metrics["target_steps"], metrics["val_target_accuracy"]) == (steps, scores[steps])


@pytest.mark.parametrize(("scores", "steps"), [([0.85], 0), ([0.5, 0.84, 0.85, 0.9], 2)])
def test_entropy_s_target_phase_ends_at_the_bar(scores: list[float], steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter(scores)
    monkeypatch.setattr(entropy, "validation_accuracy", lambda *_: next(measured))
    metrics = EntropyConfig().build(players())._recover(Toy())
    assert (metrics["target_steps"], metrics["val_target_accuracy"]) == (steps, scores[steps])


def updates(algorithm: Algorithm) -> list[float]:
    """How many updates each budget model has had, by its Adam."""
    return [max((float(state["step"]) for state in optimizer.state.values()), default=0.0) for optimizer in algorithm.budget]


def test_entropy_s_budget_phase_ends_when_every_model_reaches_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    read = iter(torch.tensor([0.2, 0.3, 1.0, 0.94, 0.94, 1.0, 0.95, 0.96, 0.5, 0.5], dtype=torch.double))
    monkeypatch.setattr(base, "hits", lambda *_: next(read))
    algorithm = EntropyConfig().build(players())
    metrics = algorithm._learn(Toy())
    assert (metrics["budget_steps"], metrics["budget_0_accuracy"], metrics["budget_1_accuracy"]) == (4, 0.95, 0.96)
    assert updates(algorithm) == [4, 4]


def test_kbeam_s_min_phase_ends_when_the_strongest_reaches_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    read = iter(torch.tensor([1.0, 0.5, 1.0, 0.98, 0.2, 0.99, 1.0, 1.0], dtype=torch.double))
    monkeypatch.setattr(base, "hits", lambda *_: next(read))
    cast = players()
    cast.budget[1] = Says([[9.0, 0.0]] * 32)  # its loss is the lowest throughout
    feeds = Toy()
    feeds.budget = lambda: (feeds.draw()[0], torch.zeros(32, dtype=torch.long))
    algorithm = KBeamConfig(lr_min=1e-4).build(cast)
    metrics = algorithm._min(feeds)
    assert (metrics["budget_steps"], metrics["budget_strongest"], metrics["budget_1_accuracy"]) == (3, 1, 0.99)
    assert updates(algorithm) == [2, 2], "the gradients of the last are discarded"


class Says(nn.Module):
    """A reader with the same ``logits`` (N, classes) for whatever it sees."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, clips: Tensor) -> Tensor:
        return self.logits


def test_the_maximum_over_the_ensemble_is_taken_for_each_clip() -> None:
    sure, unsure = [9.0, 0.0], [0.0, 0.0]
    ensemble = nn.ModuleList([Says([sure, unsure]), Says([unsure, sure])])
    cast = Players(Mixer(), reader(), ensemble)  # pyright: ignore[reportArgumentType]
    fooled = EntropyConfig().build(cast)._fooled(torch.zeros(2, 3, 2, 4, 4))
    assert fooled.item() == pytest.approx(uniform_loss(torch.tensor([sure])).item())


LN3 = math.log(3)  # the logit of three quarters
LN9 = math.log(9)  # of nine tenths


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_entropy_s_filter_descends_by_hand(multi_label: bool) -> None:
    """Logits [z, 0] say p and 1 - p of two classes, which is -(ln p + ln (1 - p)) / 2 - ln 2 nats from knowing nothing; of two
    attributes p and one half, of which the first is as far and the second not at all."""
    shift = Mixer()
    shift.mix.bias.data[:] = torch.tensor([0.1, -0.1, 0.1])  # pyright: ignore[reportOptionalMemberAccess]
    ensemble = nn.ModuleList([Says([[LN3, 0.0], [0.0, 0.0]]), Says([[0.0, 0.0], [LN9, 0.0]])])
    cast = Players(shift, Says([[LN3, 0.0], [LN3, 0.0]]), ensemble, multi_label)  # pyright: ignore[reportArgumentType]
    algorithm = EntropyConfig(gamma=0.7, reconstruction=0.5).build(cast)
    algorithm.round = 20
    loss, measured = algorithm._fooling(torch.full((2, 3, 2, 4, 4), 0.5), torch.zeros(2, dtype=torch.long))
    target_loss = -math.log(3 / 4)
    three_quarters, nine_tenths = 0.143841, 0.510826
    fooled = (three_quarters + nine_tenths) / 2 / (2 if multi_label else 1)
    near = 0.1 * 0.5 * 0.9**2
    assert measured["target_loss"].item() == pytest.approx(target_loss)
    assert measured["degradation_fool"].item() == pytest.approx(fooled, rel=1e-5)
    assert loss.item() == pytest.approx(target_loss + 0.7 * fooled + near, rel=1e-5)


def test_one_fooling_step_by_hand() -> None:
    cast = players()
    torch.nn.init.constant_(cast.degradation.mix.bias, 0.1)  # pyright: ignore
    algorithm = EntropyConfig(gamma=0.7, reconstruction=0.5).build(cast)
    algorithm.round = 20
    twin = copy.deepcopy(cast)
    torch.manual_seed(1)
    algorithm._fool(Toy())
    torch.manual_seed(1)
    clips, labels = Toy().target()
    painted = twin.degradation.paint(clips)
    filtered = release(painted, twin.degradation.spec.release)
    away = torch.stack([F.kl_div(model(filtered).log_softmax(1), torch.full((32, 2), 0.5), reduction="none").sum(1)
                        for model in twin.budget])  # fmt: skip
    near = 0.5 * 0.9**2 * (painted - clips).abs().mean()
    loss = F.cross_entropy(twin.target(filtered), labels) + 0.7 * away.max(0).values.mean() + near
    assert_gradients(cast.degradation, loss, twin.degradation)


def test_entropy_holds_the_colours_near_that_a_gray_release_takes_away() -> None:
    untouched = TransformNet(width=2, blocks=1, kernel=3, skip=True).build()
    cast = Players(untouched, Says([[0.0, 0.0]]), nn.ModuleList([Says([[0.0, 0.0]])]))
    clips = torch.rand(1, 3, 2, 8, 8)
    loss, _ = EntropyConfig(reconstruction=1.0).build(cast)._fooling(clips, torch.zeros(1, dtype=torch.long))
    assert (untouched(clips) - clips).abs().mean().item() > 0.1
    assert loss.item() == pytest.approx(math.log(2)), "the target's loss alone: the picture is as it was"


def test_entropy_asks_a_filter_of_motion_for_no_more_than_motion() -> None:
    blind = TransformNet(width=2, blocks=1, kernel=3, motion=True, appearance=False).build()
    cast = Players(blind, Says([[0.0, 0.0]]), nn.ModuleList([Says([[0.0, 0.0]])]))
    clips = torch.rand(1, 3, 2, 8, 8)
    blind.paint = lambda clips: blind.picture(clips)  # pyright: ignore[reportAttributeAccessIssue]
    loss, _ = EntropyConfig(reconstruction=1.0).build(cast)._fooling(clips, torch.zeros(1, dtype=torch.long))
    assert (blind.picture(clips) - clips).abs().mean().item() > 0.1
    assert loss.item() == pytest.approx(math.log(2))


def test_entropy_counts_its_rounds() -> None:
    algorithm = EntropyConfig(target_steps=1, budget_steps=1).build(players())
    for _ in range(2):
        algorithm.update(Toy())
    assert algorithm.round == 2


def test_the_seed_s_sigmoid_target_wants_every_attribute_present() -> None:
    logits = torch.tensor([[20.0, 20.0], [0.0, 0.0], [20.0, -20.0]])
    assert uniform_loss(logits, True, present=True).tolist() == pytest.approx([0, 0.6931, 10], abs=1e-3)
    assert uniform_loss(logits, True)[1].item() == pytest.approx(0, abs=1e-6)
    cast = players()
    cast.multi_label = True
    both = [EntropyConfig(sigmoid_target=how).build(cast)._fooled(torch.rand(4, 3, 2, 4, 4)) for how in ("present", "uniform")]
    assert both[0] > both[1]


def test_the_target_s_weights_alone_decay() -> None:
    cast = players()
    optimizer = recovery(cast, 1e-3, 0.001)
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert {id(p) for p in decayed} == {id(p) for p in cast.target.parameters() if p.ndim > 1}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


SMALL: list[Any] = [
    *(MobileNet(width=0.25, depth=0), Vgg(width=4, norm="batch"), ResNet(width=4), Inception(width=8), DenseNet(growth=4)),
    *(R2Plus1D(width=4), C3D(width=2, dense=4, size=(2, 16, 16)), TfC3D(width=2, dense=4, size=(2, 16, 16))),
    *(TfMobileNet(width=0.25), TfInception(version=2), TfResNet(version=2)),
    *(Torchvision(name=name) for name in typing.get_args(Name) if name not in ("vgg11_bn", "resnet50", "resnet101")),
]


def test_every_network_is_asked_to_begin_anew() -> None:
    assert {type(network) for network in SMALL} == set(typing.get_args(typing.get_args(Network)[0]))


@pytest.mark.parametrize("network", SMALL, ids=lambda network: getattr(network, "name", network.kind))
def test_a_restart_from_scratch_leaves_nothing_of_any_network(network: Any) -> None:
    model = ReaderSpec(network=network).build(3)
    for tensor in model.state_dict().values():
        tensor.fill_(7)
    model.apply(_forget)
    kept = [name for name, tensor in model.state_dict().items() if (tensor == 7).any()]
    assert not kept


def test_the_rate_by_hand() -> None:
    clips = torch.full((2, 3, 1, 1, 2), 0.5)
    clips[0, :, 0, 0, 0], clips[1, :, 0, 0, 0] = 0.4, 0.6  # one pixel differs by 0.1 from the mean image, one not at all
    noisy = Release(noise=0.2)
    assert rate(clips, noisy).item() == pytest.approx((0.1**2 / (2 * 0.2**2)) / 2)
    assert rate(clips, Release(noise=0.2, gray=False)).item() == pytest.approx(3 * (0.1**2 / (2 * 0.2**2)) / 2)
    assert rate(torch.full((2, 3, 4, 2, 2), 0.3), noisy).item() == pytest.approx(0, abs=1e-9)
    with pytest.raises(PrivadvError, match="release with noise"):
        rate(clips, Release())


@pytest.mark.parametrize("shift", [0.05, 0.2, 0.5])
def test_the_rate_is_at_least_the_information_about_the_clip(shift: float) -> None:
    """One pixel that is painted dark or bright and released with noise: its information in nats, integrated numerically."""
    noise = 0.2
    z = torch.linspace(-3, 4, 20001, dtype=torch.float64)
    densities = [torch.exp(-((z - 0.5 - p) ** 2) / (2 * noise**2)) / (noise * (2 * torch.pi) ** 0.5) for p in (-shift, shift)]
    mixture = torch.stack(densities).mean(0).clamp(min=1e-300)
    known = torch.stack([torch.trapezoid(torch.xlogy(one, one / mixture), z) for one in densities]).mean()
    clips = torch.tensor([0.5 - shift, 0.5 + shift]).view(2, 1, 1, 1, 1).expand(2, 3, 1, 1, 1)
    assert float(known) <= rate(clips, Release(noise=noise)).item() + 1e-6


def test_a_rate_takes_away_what_neither_target_nor_budget_asked_for() -> None:
    def told(weight: float) -> float:
        torch.manual_seed(0)
        filter_ = TransformNet(width=4, blocks=1, kernel=3, stride=1, release=Release(noise=0.2)).build()
        readers = [ReaderSpec(network=ResNet(width=4)).build(2) for _ in range(2)]
        players = Players(filter_, readers[0], nn.ModuleList(readers[1:]))
        game = UniformConfig(rounds=1, fool_steps=10, min_steps=1, pool_batches=1, rate=weight).build(players)
        feeds = Toy()
        found = [game.update(feeds) for _ in range(4)]
        assert ("degradation_rate" in found[-1]) == (weight > 0)
        with torch.no_grad():
            return rate(filter_.paint(feeds.draw()[0]), filter_.spec.release).item()

    assert told(20.0) < 0.25 * told(0.0)


def test_what_hides_rises_over_the_ramp() -> None:
    cast = players()
    game = UniformConfig(rounds=8, fool_steps=1, min_steps=1, pool_batches=1, ramp=0.5).build(cast)
    assert [game.update(Toy())["degradation_weight"] for _ in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    on = UniformConfig(rounds=8, fool_steps=1, min_steps=1, pool_batches=1, ramp=0.5).build(cast)
    on.remember({"strongest": 1, "round": 1})
    assert on.risen == 0.5


def test_learning_rates_fall_at_the_end() -> None:
    game = UniformConfig(rounds=4, fool_steps=1, min_steps=1, pool_batches=1, anneal=0.5, lr_target=1.0).build(players())
    rates: list[tuple[float, ...]] = []
    for _ in range(4):
        game.update(Toy())
        rates.append(tuple(one.param_groups[0]["lr"] for one in game.optimizers().values()))
    assert rates == [(2e-3, 1.0, 3e-3, 3e-3)] * 3 + [(1e-3, 0.5, 3e-3, 3e-3)]


def test_a_ramp_weighs_what_hides_and_not_the_target() -> None:
    """The first of two rounds of a ramp is a round at half the weights; without weights a ramp changes nothing."""

    def gradient(gamma: float, rate: float, ramp: float) -> Tensor:
        cast = players()
        game = UniformConfig(rounds=2, fool_steps=1, min_steps=1, pool_batches=1, gamma=gamma, rate=rate, ramp=ramp)
        game.build(cast).update(Toy())
        parameter = next(cast.degradation.parameters())
        assert parameter.grad is not None
        return parameter.grad

    torch.testing.assert_close(gradient(8.0, 4.0, 1.0), gradient(4.0, 2.0, 0.0))
    assert (gradient(8.0, 4.0, 1.0) - gradient(8.0, 4.0, 0.0)).abs().max() > 0.01
    torch.testing.assert_close(gradient(0.0, 0.0, 1.0), gradient(0.0, 0.0, 0.0))
