"""A parameter sweep with scikit-learn. The pool is ProcessPoolExecutor, or rain's in its place."""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import sys

from rain.client import Executor
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

GRID = list(itertools.product((0.1, 1.0, 10.0), (0.0005, 0.001, 0.005, 0.02)))  # C, gamma


def accuracy(parameters: tuple[float, float]) -> float:
    """Mean accuracy in 3-fold cross-validation on 1,797 pictures of handwritten digits."""
    c, gamma = parameters
    pictures, digits = load_digits(return_X_y=True)
    return float(cross_val_score(SVC(C=c, gamma=gamma), pictures, digits, cv=3).mean())


def sweep(pool: concurrent.futures.Executor) -> list[float]:
    """The same code for either pool."""
    with pool:
        return list(pool.map(accuracy, GRID))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", choices=("rain", "process", "both"), default="both")
    chosen = parser.parse_args().pool

    results = []
    if chosen in ("rain", "both"):
        results.append(sweep(Executor()))
    if chosen in ("process", "both"):
        results.append(sweep(concurrent.futures.ProcessPoolExecutor()))
    accuracies = results[0]

    print(f"{'C':>6} {'gamma':>8} {'accuracy':>9}")
    for (c, gamma), value in zip(GRID, accuracies, strict=True):
        print(f"{c:>6} {gamma:>8} {value:>9.4f}")
    best = max(range(len(GRID)), key=accuracies.__getitem__)
    print(f"best: C={GRID[best][0]}, gamma={GRID[best][1]}")
    if results[0] != results[-1]:
        print("the two pools disagree", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
