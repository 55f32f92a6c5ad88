"""Losses and accuracy of readers, for single-label and multi-label tasks alike."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean softmax cross-entropy for class labels (N,), mean sigmoid cross-entropy for attribute labels (N, classes)."""
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.float())


def uniform_loss(logits: Tensor, multi_label: bool = False, present: bool = False) -> Tensor:
    """Per clip (N,): how far a prediction is from knowing nothing, 0 when it knows nothing.

    Single-label: KL(uniform || p) through log-softmax, finite where p saturates. Multi-label: cross-entropy against 0.5 an
    attribute, less its least value ln 2. ``present`` is the seed code's mistake, kept for comparison: the target of every
    attribute is 1.0, so that a prediction is 0 when it names them all.
    """
    if multi_label:
        wanted, least = (1.0, 0.0) if present else (0.5, math.log(2))
        target = torch.full_like(logits, wanted)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1) - least
    return -F.log_softmax(logits, 1).mean(1) - math.log(logits.shape[1])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of right classes, or of right attributes at a threshold of one half."""
    return hits(logits, labels).item()


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """The :func:`accuracy` as a scalar on the device, without a gradient, for those who need not wait for it."""
    logits = logits.detach()
    right = logits.argmax(1) == labels if labels.ndim == 1 else (logits > 0) == (labels > 0)
    return right.float().mean()
