"""Models of what is usual, as plain arrays: how far a row lies from it, and which of its columns take it there.

Rows are standardised (0 is usual, 1 a usual deviation) and hold no NaN. Lives here: evaluating, in numpy alone. Not
here: how the arrays are learned (learning.py), how they are kept (form.py), where rows come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from dcim.detect.traces import Floats

Whole = npt.NDArray[np.int64]


class Model(Protocol):
    """One model. Its arrays are its fields, and nothing else is."""

    kind: ClassVar[str]

    def statistics(self, rows: Floats) -> Floats:
        """[rows, statistics]: each at least 0, larger is less usual. A row's do not depend on its neighbours."""
        ...

    def shares(self, row: Floats) -> Floats:
        """[columns]: how much each column has to do with the statistic of one row that is largest against its limit; at
        least 0, 1 together, or all 0 where nothing stands out."""
        ...

    @property
    def limits(self) -> Floats:
        """[statistics]: where each becomes unusual."""
        ...

    def limited(self, limits: Floats) -> Self:
        """The same with these limits."""
        ...


def measure(model: Model, rows: Floats) -> Floats:
    """[rows]: the largest of a row's statistics against its limit: 1 and more is unusual."""
    largest: Floats = (model.statistics(rows) / model.limits).max(axis=1)
    return largest


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """Principal components: T² within them, Q (squared prediction error) beside them."""

    kind: ClassVar[str] = "subspace"
    centre: Floats
    """[columns]."""
    components: Floats
    """[components, columns], orthonormal."""
    variances: Floats
    """[components]."""
    limits: Floats

    def statistics(self, rows: Floats) -> Floats:
        """[rows, 2]: T², Q."""
        away = rows - self.centre
        scores = away @ self.components.T
        beside = away - scores @ self.components
        return np.stack([(scores**2 / self.variances).sum(axis=1), (beside**2).sum(axis=1)], axis=1)

    def shares(self, row: Floats) -> Floats:
        """Of T², each column's part of the product; of Q, its squared error."""
        away = row - self.centre
        scores = self.components @ away
        if int(np.argmax(self.statistics(row[None])[0] / self.limits)):
            return _parts((away - scores @ self.components) ** 2)
        return _parts(away * ((scores / self.variances) @ self.components))

    def limited(self, limits: Floats) -> Self:
        """The same with these limits."""
        return replace(self, limits=limits)


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """A centre and a covariance that outliers did not pull at: squared Mahalanobis distance."""

    kind: ClassVar[str] = "covariance"
    centre: Floats
    """[columns]."""
    precision: Floats
    """[columns, columns]: the covariance's inverse."""
    limits: Floats

    def statistics(self, rows: Floats) -> Floats:
        """[rows, 1]."""
        away = rows - self.centre
        squares: Floats = ((away @ self.precision) * away).sum(axis=1)
        return np.maximum(squares, 0.0)[:, None]

    def shares(self, row: Floats) -> Floats:
        """Each column's part of the product."""
        away = row - self.centre
        return _parts(away * (self.precision @ away))

    def limited(self, limits: Floats) -> Self:
        """The same with these limits."""
        return replace(self, limits=limits)


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Isolation forest: how soon random cuts leave a row alone. Nodes of all trees stand in one array."""

    kind: ClassVar[str] = "forest"
    roots: Whole
    """[trees]."""
    left: Whole
    """[nodes]; a leaf's is itself."""
    right: Whole
    column: Whole
    """[nodes]; a leaf's is 0."""
    cut: Floats
    """[nodes]: up to here, both sides are the left one's."""
    length: Floats
    """[nodes]: of a leaf, the path to it with what its rows would add to it."""
    usual_length: Floats
    """[1]."""
    depth: Whole
    """[1]: of the deepest tree."""
    limits: Floats

    def statistics(self, rows: Floats) -> Floats:
        """[rows, 1]: the score of Liu, Ting and Zhou (2008) beyond 0.5, which is usual. It does not tell how far out a
        row lies: beyond the outermost row that was learned, all is one."""
        told = np.empty((len(rows), 1))
        for first in range(0, len(rows), 4096):  # rows × trees at once would fill the memory
            part = rows[first : first + 4096].astype(np.float32)
            node = np.broadcast_to(self.roots, (len(part), len(self.roots)))
            row = np.arange(len(part))[:, None]
            for _ in range(int(self.depth[0])):
                node = np.where(part[row, self.column[node]] <= self.cut[node], self.left[node], self.right[node])
            told[first : first + 4096, 0] = 2.0 ** (-self.length[node].mean(axis=1) / self.usual_length[0]) - 0.5
        return np.maximum(told, 0.0)

    def shares(self, row: Floats) -> Floats:
        """How much less unusual the row would be with one column as usual: 0 in its place."""
        instead = np.tile(row, (len(row) + 1, 1))
        np.fill_diagonal(instead[1:], 0.0)
        scores = self.statistics(instead)[:, 0]
        return _parts(scores[0] - scores[1:])

    def limited(self, limits: Floats) -> Self:
        """The same with these limits."""
        return replace(self, limits=limits)


MODELS: Mapping[str, type[Subspace | Covariance | Forest]] = {
    model.kind: model for model in (Subspace, Covariance, Forest)
}
"""By kind."""


def to_arrays(model: Model) -> dict[str, npt.NDArray[np.generic]]:
    """The model's fields by name."""
    return {field.name: getattr(model, field.name) for field in fields(MODELS[model.kind])}


def from_arrays(kind: str, arrays: Mapping[str, npt.NDArray[np.generic]], columns: int) -> Model:
    """The model whose fields these are. Raises ValueError, in words, where they do not make one of so many columns."""
    if kind not in MODELS:
        raise ValueError(f"there is no model called {kind!r}")
    model_type = MODELS[kind]
    told: dict[str, npt.NDArray[np.generic]] = {}
    for field in fields(model_type):
        if field.name not in arrays:
            raise ValueError(f"the {kind} has no {field.name}")
        array = arrays[field.name]
        wanted: type[np.generic] = np.int64 if field.type == "Whole" else np.float64
        if array.dtype != wanted or not np.isfinite(array).all():
            raise ValueError(f"{field.name} of the {kind} is no array of finite {wanted.__name__}")
        told[field.name] = array
    model: Subspace | Covariance | Forest = model_type(**told)  # type: ignore[arg-type]  # kinds were looked at above
    if wrong := _wrong(model, columns):
        raise ValueError(f"the {kind}'s {wrong}")
    return model


def _wrong(model: Subspace | Covariance | Forest, columns: int) -> str:
    """What of the arrays does not go together; "" where they do."""
    statistics = 2 if isinstance(model, Subspace) else 1
    if model.limits.shape != (statistics,) or (model.limits <= 0.0).any():
        return "limits are not above 0, one for each statistic"
    if isinstance(model, Forest):
        nodes = len(model.left)
        if any(array.shape != (nodes,) for array in (model.right, model.column, model.cut, model.length)):
            return "nodes are not all there"
        for array, beyond in ((model.roots, nodes), (model.left, nodes), (model.right, nodes), (model.column, columns)):
            if not array.size or (array < 0).any() or (array >= beyond).any():
                return "nodes lead nowhere"
        if model.depth.shape != (1,) or not 0 < int(model.depth[0]) <= 64:
            return "depth is not within 1 to 64"
        return "" if model.usual_length.shape == (1,) and model.usual_length[0] > 0.0 else "path length is not above 0"
    if model.centre.shape != (columns,):
        return f"centre is not one of {columns} columns"
    if isinstance(model, Covariance):
        return "" if model.precision.shape == (columns, columns) else "precision is not square"
    of = len(model.variances)
    if model.components.shape != (of, columns) or not 0 < of <= columns or (model.variances <= 0.0).any():
        return "components and variances do not go together"
    return ""


def _parts(parts: Floats) -> Floats:
    """As shares: what speaks against is nothing."""
    parts = np.maximum(parts, 0.0)
    total = float(parts.sum())
    return parts / total if total > 0.0 else np.zeros(len(parts))
