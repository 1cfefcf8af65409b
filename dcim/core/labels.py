"""Labels: what to call points apart that are otherwise named alike, such as the two pumps of a CDU.

Lives here: the label, a function of the whole set of points, so that it depends neither on the order of arrival nor on
a restart. Not here: identity. A label changes when a third of the kind comes; a point's key and number never do."""

from __future__ import annotations

from collections.abc import Iterable

from dcim.core.points import Point


def tell_apart(points: Iterable[Point]) -> dict[int, str]:
    """A label, by number, for each point that shares its name with others of the same asset.

    It is what is left of the points' keys without the segments that all of them begin and end with. The sender's path
    is read for its differences alone: nothing is concluded from what it says. It is empty for a point whose key is
    the beginning of the others', and differs from every label that it must be told apart from.
    """
    alike: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        alike.setdefault((point.site, point.asset, point.name), []).append(point)
    labels = {}
    for group in alike.values():
        if len(group) > 1:
            paths = [point.key.split("/") for point in group]
            shortest = min(map(len, paths))
            head = _shared(paths, shortest)
            tail = _shared([path[::-1] for path in paths], shortest - head)
            for point, path in zip(group, paths, strict=True):
                labels[point.id] = "/".join(path[head : len(path) - tail])
    return labels


def _shared(paths: list[list[str]], most: int) -> int:
    """How many segments, up to `most`, all paths begin with."""
    for at in range(most):
        if len({path[at] for path in paths}) > 1:
            return at
    return most
