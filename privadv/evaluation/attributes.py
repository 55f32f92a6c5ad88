"""What a blind reader reaches, and how well each attribute of a multi-label task is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from privadv.evaluation.results import AttributeScores
from privadv.models.scores import average_precision, mean


def floors(labels: np.ndarray | Sequence[int], classes: int) -> dict[str, float]:
    """Test scores of a reader that sees nothing, from labels (N,) or, of attributes, (N, classes).

    It guesses evenly (chance) or names the most frequent class (majority). Of attributes, each guess has the
    attribute's prevalence as its average precision; the floor is their mean.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        shown = labels.mean(axis=0)
        return {"prevalence": mean(np.where((shown > 0) & (shown < 1), shown, np.nan))}
    return {"chance": 1 / classes, "majority": Counter(labels.tolist()).most_common(1)[0][1] / len(labels)}


def blind(labels: np.ndarray | Sequence[int], classes: int) -> float:
    """The better of the :func:`floors`: the most frequent class, or the mean prevalence of the attributes."""
    return max(floors(labels, classes).values())


def attribute_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[AttributeScores, ...]:
    """One reader's logits (N, C) against labels (N, C), attribute by attribute."""
    precisions = average_precision(scores, labels)
    return tuple(
        _scores(scores[:, k], labels[:, k] > 0, float(precision)) for k, precision in enumerate(precisions)
    )


def _scores(scores: np.ndarray, shown: np.ndarray, precision: float) -> AttributeScores:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    prevalence = float(shown.mean())
    if np.isnan(precision):
        return AttributeScores(
            prevalence=prevalence, average_precision=None, auroc=None, balanced_accuracy=None
        )
    return AttributeScores(
        prevalence=prevalence,
        average_precision=precision,
        auroc=float(roc_auc_score(shown, scores)),
        balanced_accuracy=float(balanced_accuracy_score(shown, scores > 0)),
    )
