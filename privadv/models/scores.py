"""How well readers read: accuracy of classes; average precision and balanced accuracy of attributes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from privadv.models.losses import accuracy


def score(logits: Tensor, labels: Tensor) -> float:
    """What a reader is judged by: accuracy of classes (labels (N,)), or cMAP of attributes (labels (N, C)).

    cMAP is the mean of the attributes' average precisions; attributes that are always or never shown have none.
    """
    if labels.ndim == 1:
        return accuracy(logits, labels)
    return mean(average_precision(logits.float().numpy(), labels.numpy()))


def fitted(logits: Tensor, labels: Tensor) -> float:
    """How far a reader has fitted its own clips: balanced accuracy of classes (the mean of their recalls), or the
    attributes' mean balanced accuracy.

    Neither accuracy nor cMAP would do: who always says the same has much of both where most clips show it.
    """
    if labels.ndim == 1:
        right = logits.argmax(1) == labels
        return mean(np.array([float(right[labels == one].float().mean()) for one in labels.unique()]))
    shown, said = labels > 0, logits > 0
    rates = [[(said[:, k] == shown[:, k])[shown[:, k] == side].float().mean() for side in (True, False)]
             for k in range(labels.shape[1])]
    return mean(torch.tensor(rates).mean(1).numpy())


def average_precision(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision: the sum of precisions at every threshold, each times the recall that it adds.

    ``scores`` and ``labels`` are (N, C); clips of equal score stand or fall together. ``weights`` (R, N) count the
    clips of R resamples. Returns (C,) or, with weights, (R, C); nan where an attribute is always or never shown.
    """
    drawn = np.ones((1, len(scores)), np.float32) if weights is None else weights
    found = [_average_precision(scores[:, k], labels[:, k], drawn) for k in range(scores.shape[1])]
    return np.stack(found, axis=1)[0] if weights is None else np.stack(found, axis=1)


def _average_precision(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(weights[:, order] * (labels[order] > 0), axis=1, dtype=np.float64)[:, ends]
    named = np.cumsum(weights[:, order], axis=1, dtype=np.float64)[:, ends]
    precision = np.divide(hits, named, out=np.zeros_like(hits), where=named > 0)
    shown, every = hits[:, -1], named[:, -1]
    total = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1)
    varies = (shown > 0) & (shown < every)
    return np.divide(total, shown, out=np.full_like(total, np.nan), where=varies)


def mean(values: np.ndarray) -> float:
    """The mean of those that are numbers; 0 where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
