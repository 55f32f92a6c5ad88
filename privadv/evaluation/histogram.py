"""A control on the data itself: how much of who is seen do colours alone give away, without any shape or motion?"""

from __future__ import annotations

import numpy as np

from privadv.data.feeds import ClipArray

BINS = 6


def histogram_leakage(train: ClipArray, test: ClipArray, seed: int) -> float:
    """Test accuracy of naming the budget class from a clip's colour histogram; the better of two classifiers.

    Features: square roots of the shares of 6 x 6 x 6 RGB bins over all pixels of a clip, standardised; classifiers: logistic
    regression and a random forest of 500 trees.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifiers = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)),
        RandomForestClassifier(500, random_state=seed),
    )
    seen, shown = _histograms(train), _histograms(test)
    return max(
        float(model.fit(seen, train.budget.numpy()).score(shown, test.budget.numpy())) for model in classifiers
    )


def _histograms(array: ClipArray) -> np.ndarray:
    """(N, BINS ** 3) square roots of bin shares."""
    found = np.empty((len(array), BINS**3))
    for number, frames in enumerate(array.frames):
        levels = frames.reshape(-1, 3).astype(np.int64) * BINS // 256
        counts = np.bincount(levels @ np.array([BINS * BINS, BINS, 1]), minlength=BINS**3)
        found[number] = np.sqrt(counts / counts.sum())
    return found
