"""Scores of readers against hand-made numbers and scikit-learn, and what an attribute's row in the report says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from privadv.evaluation import two_fold
from privadv.evaluation.attributes import attribute_scores, floors
from privadv.evaluation.metrics import Bootstrap, Estimate
from privadv.evaluation.results import ReaderResult, RowResult
from privadv.models.frame import MobileNet
from privadv.models.reader import ReaderSpec
from privadv.models.scores import average_precision, fitted, score
from privadv.training import Fitted


def made(seed: int, clips: int = 60, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know something of five attributes, and labels; with ``levels`` many scores are equal."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((clips, 5)) < (0.9, 0.7, 0.5, 0.3, 0.1)).astype(int)
    labels[0], labels[1] = 0, 1
    scores = labels + rng.normal(0, 1.5, labels.shape)
    return (np.round(scores * levels) / levels if levels else scores), labels


def test_average_precision_by_hand() -> None:
    """Right, wrong, right: (1/1 + 2/3) / 2. All alike: the prevalence, in whatever order they stand."""
    scores, labels = np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]])
    assert average_precision(scores, labels) == pytest.approx([5 / 6])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        assert average_precision(np.zeros((3, 1)), labels[order]) == pytest.approx([2 / 3])
    assert np.isnan(average_precision(scores, np.ones((3, 1)))).all()
    assert np.isnan(average_precision(scores, np.zeros((3, 1)))).all()


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_average_precision_is_that_of_scikit_learn(levels: int) -> None:
    for seed in range(20):
        scores, labels = made(seed, levels=levels)
        each = average_precision_score(labels, scores, average=cast(Any, None))
        assert average_precision(scores, labels) == pytest.approx(each)


@pytest.mark.parametrize("levels", [0, 2])
def test_weights_count_clips(levels: int) -> None:
    """A resample is the set with clips left out and repeated; scikit-learn takes it both ways."""
    scores, labels = made(1, levels=levels)
    weights = np.random.default_rng(2).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), 9)
    found = average_precision(scores, labels, weights)
    assert found.shape == (9, 5)
    for counts, precisions in zip(weights, found, strict=True):
        drawn = np.repeat(np.arange(len(scores)), counts)
        assert precisions == pytest.approx(average_precision(scores[drawn], labels[drawn]), nan_ok=True)
        for k in range(5):
            if 0 < labels[drawn, k].sum() < len(drawn):
                other = average_precision_score(labels[:, k], scores[:, k], sample_weight=counts)
                assert precisions[k] == pytest.approx(other)


def test_an_attribute_s_row() -> None:
    scores, labels = made(3)
    labels[:, 4] = 1
    rows = attribute_scores(scores, labels)
    for k, row in enumerate(rows[:4]):
        assert row.prevalence == labels[:, k].mean()
        assert row.average_precision == pytest.approx(average_precision_score(labels[:, k], scores[:, k]))
        assert row.auroc == pytest.approx(roc_auc_score(labels[:, k], scores[:, k]))
        assert row.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels[:, k], scores[:, k] > 0))
    assert rows[4].prevalence == 1
    assert (rows[4].average_precision, rows[4].auroc, rows[4].balanced_accuracy) == (None, None, None)


def test_floors_of_attributes_are_the_mean_prevalence_of_those_that_vary() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]])
    assert floors(labels, 3) == {"prevalence": (0.5 + 0.25) / 2}
    assert floors([0, 2, 2, 1, 2], 4) == {"chance": 0.25, "majority": 0.6}


def test_who_always_says_yes_has_fitted_nothing() -> None:
    """Nine of ten show it: 0.9 of the answers are right, and cMAP is 0.9, but balanced accuracy tells."""
    labels = torch.tensor([[1]] * 9 + [[0]])
    yes = torch.ones(10, 1)
    assert score(yes, labels) == pytest.approx(0.9) and fitted(yes, labels) == 0.5
    knows = labels * 2.0 - 1
    assert score(knows, labels) == fitted(knows, labels) == 1
    torch.manual_seed(0)
    logits, many = torch.randn(50, 3), torch.randint(0, 2, (50, 3))
    each = [balanced_accuracy_score(many[:, k], logits[:, k] > 0) for k in range(3)]
    assert fitted(logits, many) == pytest.approx(np.mean(each))
    assert score(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1])) == 0.5


def test_who_names_one_class_always_has_fitted_nothing() -> None:
    labels = torch.tensor([2] * 9 + [0])
    always = torch.tensor([[0.0, 0.0, 1.0]]).expand(10, 3)
    assert score(always, labels) == pytest.approx(0.9) and fitted(always, labels) == 0.5
    torch.manual_seed(0)
    logits, many = torch.randn(50, 3), torch.randint(0, 3, (50,))
    assert fitted(logits, many) == pytest.approx(balanced_accuracy_score(many, logits.argmax(1)))


def test_logits_are_kept_finely_enough_to_rank_by() -> None:
    scores = np.array([[5e-5], [-5e-5], [6e-5], [-6e-5]])
    job = cast(Any, SimpleNamespace(player="budget", spec=ReaderSpec(network=MobileNet()), name="a/plain/scratch", weights=None))
    array = cast(Any, SimpleNamespace(labels=lambda player: torch.tensor([[1], [0], [1], [0]])))
    outcome = Fitted("a", b"", 1, 1.0, 1.0, 0.0, 1.0, scores.tolist())
    assert two_fold.result(job, outcome, array, cast(Any, SimpleNamespace(seen=(), converged=0.9))).score == 1


def reader(scores: np.ndarray, labels: np.ndarray) -> ReaderResult:
    return ReaderResult(
        name="attacker", family="vgg", input="plain", start="warm", seen=False, accuracy=0.5, validation=0, train_loss=0,
        train_accuracy=1, converged=True, steps=1, seconds=1, predictions=(), scores=tuple(map(tuple, scores.tolist())),
        attributes=attribute_scores(scores, labels))


def result(labels: np.ndarray, *scores: np.ndarray) -> RowResult:
    """Two target clips, and the attributes of many others."""
    target = reader(scores[0], labels).model_copy(update={"predictions": (1, 0), "scores": (), "attributes": ()})
    return RowResult(
        row="filter", seed=0, clips="", target=target, attackers=tuple(reader(each, labels) for each in scores),
        clip_ids=("a", "b"), target_labels=(1, 1), budget_labels=tuple(map(tuple, labels.tolist())), groups=("a", "b"),
        private_ids=tuple(map(str, range(len(labels)))), private_groups=tuple(str(n // 3) for n in range(len(labels))),
        floors={}, blind_validation=0.5, metrics={})


def test_leakage_of_attributes_is_the_highest_cmap_of_every_resample() -> None:
    """The draws are those of the takes of the private set, and all of it again in numpy."""
    (first, labels), second = made(4), made(5)[0]
    one = result(labels, first, second)
    bootstrap = Bootstrap(one.groups, resamples=300, private=one.private_groups)
    draws = bootstrap.leakage([one])
    expected = max(np.mean(average_precision_score(labels, each, average=cast(Any, None))) for each in (first, second))
    assert draws[0] == pytest.approx(expected) == max(attacker.score for attacker in one.attackers)
    found = Estimate.of(draws)
    assert found.low < found.value < found.high
    clips = bootstrap._private._takes[7][bootstrap._private._take_of]
    again = [np.nanmean(average_precision(each, labels, clips[None])) for each in (first, second)]
    assert draws[7] == pytest.approx(max(again))
    assert bootstrap.target([one])[0] == 0.5
