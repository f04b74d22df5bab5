"""How does one select features in Python? Keep 16 of the 64 pixels of handwritten digits.

Run ``python examples/select_features.py``; it takes some seconds and downloads nothing.
"""

from __future__ import annotations

import argparse

from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sparsewire import datasets
from sparsewire.featsel import QuickSelection


def main() -> None:
    """Score a classifier that sees 16 pixels, with the selection inside the cross-validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training rows")
    epochs = parser.parse_args().epochs
    digits = datasets.load("digits")
    # Pixels share one unit, so they are compared as they are; constant ones go first.
    selector = QuickSelection(16, epochs=epochs, scale=None, random_state=0)
    pipeline = make_pipeline(VarianceThreshold(), selector, StandardScaler(), SVC())
    scores = cross_val_score(pipeline, digits.X, digits.y, cv=3)
    print(f"accuracy with 16 of 64 pixels: {100 * scores.mean():.1f} % (3 folds)")
    pipeline.fit(digits.X, digits.y)
    print("selected pixels:", ", ".join(pipeline[:2].get_feature_names_out()))


if __name__ == "__main__":
    main()
