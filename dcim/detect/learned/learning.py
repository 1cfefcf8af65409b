"""Learning: the arrays of the models, out of rows of healthy operation. The one module that knows scikit-learn, which
it imports when something is learned.

Lives here: fitting, and limits out of rows that were not fitted to. Not here: which rows (classes.py, still.py)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from dcim.core.errors import Permanent
from dcim.detect.learned.models import Covariance, Forest, Model, Subspace, Whole
from dcim.detect.traces import Floats
from dcim.detect.wide import any_of

EXPLAINED = 0.9
"""The components that are kept explain so much of the variance."""
TREES = 100
ROWS_MAX = 50_000
"""More rows are thinned out, evenly: they would teach the same."""
RIDGE = 1e-3
"""Added to each variance, in squares of usual deviations: a column that follows exactly from others has none left."""
MARGIN = 1.2
"""A limit is so many times the largest that healthy rows showed which were not fitted to; of a square, mostly."""
ALONE = 0.99
"""A limit is not taken from less than what this share of single rows stays below, however shortly rows hold it."""
_ROWS_PER_COLUMN = 5
"""Fewer rows than this for each column make no covariance."""


def learn(kind: str, rows: Floats, seed: int) -> Model:
    """A model of standardised rows [rows, columns] without NaN, with limits of 1 that `calibrated` has to replace. The
    same rows and seed give the same model. Raises Permanent where there are too few rows for so many columns."""
    if len(rows) < _ROWS_PER_COLUMN * rows.shape[1]:
        raise Permanent(
            f"{len(rows)} rows are too few to learn {rows.shape[1]} columns from",
            where="training rows",
            todo=f"Train on {_ROWS_PER_COLUMN * rows.shape[1]} at least.",
        )
    thin = rows[:: max(1, -(-len(rows) // ROWS_MAX))]
    return LEARN[kind](thin, seed)


def calibrated(model: Model, rows: Floats, sustain: Callable[[Floats], Floats], margin: float = MARGIN) -> Model:
    """The model with each limit at `margin` times the largest statistic that held in healthy rows to which it was not
    fitted, or what one such row in a hundred reaches alone, where that is more. sustain: makes of statistics [rows] how
    far they held, which is what is judged. NaN in rows is taken as usual, and such rows do not count for a limit."""
    heard = ~any_of(np.isnan(rows))
    told = np.where(heard[:, None], model.statistics(np.nan_to_num(rows)), 0.0)
    limits = np.full(told.shape[1], 1e-9)
    for number in range(told.shape[1]):
        held = float(np.max(sustain(told[:, number]), initial=0.0))
        alone = float(np.quantile(told[heard, number], ALONE)) if heard.any() else 0.0
        limits[number] = max(margin * max(held, alone), limits[number])
    return model.limited(limits)


def _subspace(rows: Floats, seed: int) -> Model:
    from sklearn.decomposition import PCA  # noqa: PLC0415  seconds, and for those who train

    found = PCA(svd_solver="full", random_state=seed).fit(rows)
    ratio = np.cumsum(found.explained_variance_ratio_)
    of = min(int(np.searchsorted(ratio, EXPLAINED)) + 1, rows.shape[1])
    variances = np.maximum(found.explained_variance_[:of], RIDGE)
    return Subspace(found.mean_, found.components_[:of].copy(), variances, np.ones(2))


def _covariance(rows: Floats, seed: int) -> Model:
    from sklearn.covariance import MinCovDet  # noqa: PLC0415

    # A hair of noise: columns that follow exactly from others would leave it without a determinant.
    noise = np.random.default_rng(seed).normal(0.0, np.sqrt(RIDGE), rows.shape)
    with warnings.catch_warnings():  # it says where its search did not fall all the way; what it has is still good
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        found = MinCovDet(random_state=seed).fit(rows + noise)
    return Covariance(found.location_, np.linalg.inv(found.covariance_), np.ones(1))


def _forest(rows: Floats, seed: int) -> Model:
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415

    found = IsolationForest(n_estimators=TREES, random_state=seed, n_jobs=1).fit(rows)
    roots: list[int] = []
    whole: dict[str, list[Whole]] = {"left": [], "right": [], "column": []}
    real: dict[str, list[Floats]] = {"cut": [], "length": []}
    depth, nodes = 1, 0
    for estimator in found.estimators_:
        tree = estimator.tree_
        leaf = tree.children_left < 0
        itself = np.arange(tree.node_count)
        deep = np.zeros(tree.node_count)
        for node in range(tree.node_count):  # a node's children come after it
            if not leaf[node]:
                deep[[tree.children_left[node], tree.children_right[node]]] = deep[node] + 1.0
        roots.append(nodes)
        whole["left"].append(np.where(leaf, itself, tree.children_left).astype(np.int64) + nodes)
        whole["right"].append(np.where(leaf, itself, tree.children_right).astype(np.int64) + nodes)
        whole["column"].append(np.where(leaf, 0, tree.feature).astype(np.int64))
        real["cut"].append(np.where(leaf, 0.0, tree.threshold))
        real["length"].append(deep + path_length(tree.n_node_samples.astype(np.float64)))
        depth, nodes = max(depth, int(deep.max())), nodes + tree.node_count
    return Forest(
        roots=np.array(roots, np.int64),
        left=np.concatenate(whole["left"]),
        right=np.concatenate(whole["right"]),
        column=np.concatenate(whole["column"]),
        cut=np.concatenate(real["cut"]),
        length=np.concatenate(real["length"]),
        usual_length=path_length(np.array([float(found.max_samples_)])),
        depth=np.array([depth], np.int64),
        limits=np.ones(1),
    )


def path_length(rows: Floats) -> Floats:
    """[…]: mean length of the path to one of so many rows in a random tree (Liu, Ting and Zhou 2008, equation 1)."""
    length = np.where(rows >= 2.0, 1.0, 0.0)
    many = rows > 2.0
    length[many] = 2.0 * (np.log(rows[many] - 1.0) + np.euler_gamma) - 2.0 * (rows[many] - 1.0) / rows[many]
    return length


LEARN: Mapping[str, Callable[[Floats, int], Model]] = {
    Subspace.kind: _subspace,
    Covariance.kind: _covariance,
    Forest.kind: _forest,
}
"""By kind of model."""
