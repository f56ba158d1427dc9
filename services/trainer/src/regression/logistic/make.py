"""Writes what scikit-learn's LogisticRegression learns, for the tests in tests.rs.

    python make.py        (with numpy and scikit-learn installed)

The features and classes are a formula, which the tests repeat. Each line has the number of
classes, the strength, and the coefficients: the weights of each column, then the biases.
"""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

ROWS, FEATURES = 90, 5


def data(classes):
    row, feature = np.meshgrid(np.arange(ROWS), np.arange(FEATURES), indexing="ij")
    x = np.sin(1.7 * row * (feature + 1) + feature) * (feature + 1) + 0.5 * feature
    y = (x[:, 0] * 2 + x[:, 1] + np.cos(3.0 * np.arange(ROWS)) * 2 + 4) / 8 * classes
    return x.astype(np.float32), np.clip(np.floor(y), 0, classes - 1).astype(int)


lines = []
for classes in (2, 3):
    x, y = data(classes)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    for strength in (1.0, 0.03, 0.001):
        model = LogisticRegression(C=1 / (strength * ROWS), tol=1e-10, max_iter=10000)
        model.fit(scaled, y)
        values = [*model.coef_.flatten(), *model.intercept_]
        lines.append(" ".join([str(classes), str(strength), *(f"{v:.8f}" for v in values)]))
Path(__file__).with_name("golden.txt").write_text("\n".join(lines) + "\n")
