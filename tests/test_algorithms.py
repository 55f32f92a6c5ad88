"""Every algorithm keeps the contract, moves only whom it may move, and wins a game that can be won."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from privadv.algorithms.base import Algorithm, AlgorithmConfig, Batch, Feeds, Players, frozen
from privadv.algorithms.entropy import EntropyConfig
from privadv.algorithms.grl import GRLConfig, reverse
from privadv.algorithms.kbeam import KBeamConfig
from privadv.algorithms.restart import RestartConfig, Restarting
from privadv.algorithms.uniform import UniformConfig
from privadv.models.degradation import Release, TransformNet, release
from privadv.models.losses import classification_loss, uniform_loss

CONFIGS = [
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2),
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2, fool="maximum"),
    UniformConfig(rounds=2, fool_steps=2, min_steps=2, pool_batches=2, fool="mean"),
    KBeamConfig(rounds=2, max_steps=2, min_steps=2, target_steps=2, accumulate=2, target_bar=1.1),
    EntropyConfig(rounds=2, target_steps=2, budget_steps=2, target_bar=1.1, reconstruction=0.5),
    GRLConfig(rounds=2, steps=2),
    GRLConfig(rounds=2, steps=2, form="alternating"),
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


class Mixer(nn.Module):
    """A filter that can only mix channels: enough to win the toy game, and small enough to play it in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv3d(3, 3, 1)
        nn.init.eye_(self.mix.weight.data.view(3, 3))
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, clips: Tensor) -> Tensor:
        return self.mix(clips).clamp(0, 1)


def reader() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))


def players(budgets: int = 2) -> Players:
    torch.manual_seed(0)
    return Players(Mixer(), reader(), nn.ModuleList(reader() for _ in range(budgets)))  # pyright: ignore[reportArgumentType]


def moved(before: nn.Module, after: nn.Module) -> bool:
    return any(
        not torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    "config",
    CONFIGS,
    ids=lambda config: f"{config.kind}-{getattr(config, 'fool', getattr(config, 'form', ''))}",
)
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


@pytest.mark.parametrize(
    "config",
    CONFIGS,
    ids=lambda config: f"{config.kind}-{getattr(config, 'fool', getattr(config, 'form', ''))}",
)
def test_a_resumed_game_goes_on_as_the_uninterrupted_one(config: AlgorithmConfig) -> None:
    def play(algorithm: Algorithm, feeds: Feeds) -> Tensor:
        algorithm.update(feeds)
        return torch.cat([p.detach().flatten() for p in algorithm.players.degradation.parameters()])

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
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            clips, labels = feeds.budget()
            optimizer.zero_grad()
            classification_loss(model(clips), labels).backward()
            optimizer.step()
    before = copy.deepcopy(cast)
    algorithm = KBeamConfig(max_steps=20, lr_max=1e-2).build(cast)
    clips, labels = Toy(seed=9).budget()
    loss_before = classification_loss(cast.budget[0](cast.degradation(clips)), labels).item()
    algorithm._max(feeds)
    assert classification_loss(cast.budget[0](cast.degradation(clips)), labels).item() > loss_before + 0.1
    assert not moved(before.target, cast.target) and not moved(before.budget, cast.budget)


def test_kbeam_remembers_the_budget_model_of_the_lowest_loss() -> None:
    cast, feeds = players(budgets=3), Toy()
    optimizer = torch.optim.Adam(cast.budget[2].parameters(), 1e-2)
    for _ in range(80):
        clips, labels = feeds.budget()
        optimizer.zero_grad()
        classification_loss(cast.budget[2](clips), labels).backward()
        optimizer.step()
    algorithm = KBeamConfig(min_steps=1).build(cast)
    algorithm._min(feeds)
    assert algorithm.strongest == 2


def test_kbeam_stops_the_min_phase_at_the_bar_without_a_step() -> None:
    cast = players()
    before = copy.deepcopy(cast)
    metrics = KBeamConfig(min_steps=50, budget_bar=0.0).build(cast)._min(Toy())
    assert metrics["budget_steps"] == 1 and not moved(before.budget, cast.budget)


def fresh_attacker_accuracy(filter_: nn.Module) -> float:
    """A new reader trained on the filtered toy clips, on fresh ones."""
    torch.manual_seed(123)
    attacker, feeds = reader(), Toy(seed=77)
    optimizer = torch.optim.Adam(attacker.parameters(), 1e-2)
    for _ in range(300):
        clips, labels = feeds.budget()
        with torch.no_grad():
            clips = filter_(clips)
        optimizer.zero_grad()
        classification_loss(attacker(clips), labels).backward()
        optimizer.step()
    clips, _, labels = Toy(seed=5).draw(512)
    return (attacker(filter_(clips)).argmax(1) == labels).float().mean().item()


def win(sign: float) -> float:
    """Play the toy game with privacy weighted by ``sign``; what a fresh attacker then reads."""
    cast = players()
    noisy = nn.Sequential(cast.degradation, _Noise())
    config = UniformConfig(rounds=60, min_steps=20, lr_degradation=1e-2, lr_target=1e-2, lr_budget=1e-2)
    config = config.model_copy(
        update={"gamma": 6.0 * sign}
    )  # a copy is not validated: no user gets a negative weight
    algorithm = config.build(Players(noisy, cast.target, cast.budget))  # pyright: ignore[reportArgumentType]
    feeds = Toy()
    for _ in range(config.rounds):
        algorithm.update(feeds)
    return fresh_attacker_accuracy(noisy)


class _Noise(nn.Module):
    def forward(self, clips: Tensor) -> Tensor:
        return clips + 0.3 * torch.randn_like(clips)


def test_the_toy_game_is_won_against_a_fresh_attacker_and_lost_with_the_sign_flipped() -> None:
    assert fresh_attacker_accuracy(Mixer()) > 0.95
    assert win(+1.0) < 0.62
    assert win(-1.0) > 0.9


def test_uniform_loss_is_kl_from_uniform_and_finite_when_saturated() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, -1.0, 0.5], [1e4, 0.0, 0.0, 0.0]])
    p = torch.softmax(logits[1].double(), 0)
    by_hand = sum(0.25 * (torch.log(torch.tensor(0.25)).double() - torch.log(q)) for q in p)
    losses = uniform_loss(logits)
    assert losses[0].item() == pytest.approx(0, abs=1e-6)
    assert losses[1].item() == pytest.approx(float(by_hand), rel=1e-5)
    assert torch.isfinite(losses).all()
    assert uniform_loss(torch.zeros(2, 5), multi_label=True).abs().max() < 1e-6


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


@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_filter_keeps_shape_and_range_at_sizes_that_strides_do_not_divide(
    stride: int, motion: bool
) -> None:
    spec = TransformNet(width=4, blocks=1, kernel=3, stride=stride, motion=motion)  # pyright: ignore[reportArgumentType]
    clips = torch.rand(2, 3, 3, 18, 22)
    filtered = spec.build()(clips)
    assert filtered.shape == clips.shape and filtered.min() >= 0 and filtered.max() <= 1


def test_a_skip_filter_starts_as_the_identity() -> None:
    clips = torch.rand(1, 3, 2, 16, 16)
    assert torch.equal(TransformNet(width=4, blocks=1, kernel=3, skip=True).build().paint(clips), clips)


def test_a_moving_filter_looks_back_and_never_ahead() -> None:
    filter_ = (
        TransformNet(width=4, blocks=1, kernel=3, motion=True, release=Release(gray=False)).build().eval()
    )
    clips = torch.rand(1, 3, 4, 16, 16)
    changed = clips.clone()
    changed[:, :, 3] = torch.rand(3, 16, 16)
    assert torch.equal(filter_.paint(clips)[:, :, :3], filter_.paint(changed)[:, :, :3])


def test_the_reversal_layer_turns_the_gradient_round() -> None:
    x = torch.ones(3, requires_grad=True)
    reverse(2 * x, 0.5).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, torch.full((3,), -1.0))


def test_one_reversal_step_is_the_saddle_step_by_hand() -> None:
    cast = players()
    algorithm = GRLConfig(steps=1, ramp=False, weight=0.7).build(cast)
    twin = copy.deepcopy(cast)
    feeds = Toy()
    algorithm._joint(feeds)
    by_hand = Toy()
    clips, labels = by_hand.target()
    private, private_labels = by_hand.budget()
    losses = [classification_loss(model(twin.degradation(private)), private_labels) for model in twin.budget]
    loss = (
        classification_loss(twin.target(twin.degradation(clips)), labels) - 0.7 * torch.stack(losses).mean()
    )
    loss.backward()
    for mine, other in zip(cast.degradation.parameters(), twin.degradation.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None
        assert torch.allclose(mine.grad, other.grad, atol=1e-6)


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
    assert all(not optimizer.state for optimizer in algorithm.budget_optimizers())
    same = all(
        torch.equal(a, b) for a, b in zip(first.values(), cast.budget.state_dict().values(), strict=True)
    )
    assert same == (start == "pretrained")
    assert algorithm.update(Toy())["budget_restarted"] == 1
