"""A control on the data itself: how much of who is seen do colours alone give away, without any shape or motion?"""

from __future__ import annotations

import numpy as np

from privadv.data.feeds import ClipArray
from privadv.models.scores import average_precision, mean

BINS = 6


def histogram_leakage(train: ClipArray, test: ClipArray, seed: int) -> float:
    """Test accuracy of naming the budget class from a clip's colour histogram, or cMAP of its attributes; the better of two
    classifiers.

    Features: square roots of the shares of 6 x 6 x 6 RGB bins over all pixels of a clip, standardised; classifiers: logistic
    regression and a random forest of 500 trees.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = LogisticRegression(C=0.01, max_iter=2000)
    forest = RandomForestClassifier(500, random_state=seed)
    seen, shown, labels = _histograms(train), _histograms(test), train.budget.numpy()
    if train.budget.ndim == 1:
        classifiers = (make_pipeline(StandardScaler(), linear), forest)
        return max(float(model.fit(seen, labels).score(shown, test.budget.numpy())) for model in classifiers)
    varied = np.flatnonzero(labels.min(0) < labels.max(0))  # who has seen one answer only can learn none
    if not len(varied):
        return 0.0
    lines = [make_pipeline(StandardScaler(), linear).fit(seen, labels[:, k]).predict_proba(shown) for k in varied]
    votes = forest.fit(seen, np.squeeze(labels[:, varied])).predict_proba(shown)
    likely = (np.stack([one[:, 1] for one in each], axis=1) for each in (lines, votes if len(varied) > 1 else [votes]))
    return max(mean(average_precision(one, test.budget.numpy()[:, varied])) for one in likely)


def _histograms(array: ClipArray) -> np.ndarray:
    """(N, BINS ** 3) square roots of bin shares."""
    found = np.empty((len(array), BINS**3))
    for number, frames in enumerate(array.frames):
        levels = frames.reshape(-1, 3).astype(np.int64) * BINS // 256
        counts = np.bincount(levels @ np.array([BINS * BINS, BINS, 1]), minlength=BINS**3)
        found[number] = np.sqrt(counts / counts.sum())
    return found
