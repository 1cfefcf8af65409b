"""Failover: where the load of each rack flows when something of the way of power is lost, phase by phase.

A rack's load does not change when one of its cords dies; the others take it, in the proportion in which they carried
theirs. Lives here: loads after a loss, and the worst that any single loss does to each feed. Not here: what may be
carried (limits.py), what is done about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dcim.capacity.loads import Loads, sums
from dcim.capacity.network import Bools, Floats, Network, Numbers

AT_ONCE = 64
"""Losses that are worked out together: bounds memory."""
NOTHING = -1
"""No loss: the worst is as it is now."""


@dataclass(frozen=True, slots=True, eq=False)
class After:
    """Loads after losses; the last axis but the phases' is the loss, where there are several."""

    feed_kva: Floats
    """By feed, loss and phase; NaN where it is unknown already."""
    cord_kva: Floats
    alive: Bools
    """By feed and loss."""
    dark: Bools
    """By rack and loss: it had power, and has none any more."""
    adrift_kva: Floats
    """By loss: load on lost feeds of racks that nobody describes; nobody knows where it goes."""


@dataclass(frozen=True, slots=True, eq=False)
class Worst:
    """The worst that the loss of any one feed does, now included."""

    kva: Floats
    """By feed and phase."""
    by: Numbers
    """By feed: the feed whose loss does that to its fullest phase, or NOTHING."""
    unsure: Bools
    """By feed: it may get worse than that, for somebody's load or other feeds are not known."""


def lose(network: Network, loads: Loads, lost: Iterable[int]) -> After:
    """Loads after all of these feeds are lost at once, with those that are dead already."""
    gone = np.zeros((len(network.feeds), 1), np.bool_)
    gone[list(lost)] = True
    after = _after(network, loads, gone)
    return After(after.feed_kva[:, 0], after.cord_kva[:, 0], after.alive[:, 0], after.dark[:, 0], after.adrift_kva)


def worst(network: Network, loads: Loads) -> Worst:
    """The worst of every single loss, of feeds that are not dead already."""
    kva = loads.feed_kva.copy()
    by = np.full(len(network.feeds), NOTHING, np.intp)
    unsure = network.blind.copy()
    candidates = [feed for feed in _apart(network) if not loads.dead[feed]]
    for start in range(0, len(candidates), AT_ONCE):
        chunk = candidates[start : start + AT_ONCE]
        lost = np.zeros((len(network.feeds), len(chunk)), np.bool_)
        lost[chunk, range(len(chunk))] = True
        if network.tree:
            _along(network, loads, lost, np.array(chunk, np.intp), Worst(kva, by, unsure))
            continue
        after = _after(network, loads, lost)
        unsure |= np.logical_or.reduce(np.isnan(after.feed_kva), axis=(1, 2))
        after.feed_kva[~after.alive] = np.nan
        _raise(kva, by, after.feed_kva, np.array(chunk, np.intp))
    _taps(network, loads, kva, by, unsure)
    return Worst(kva, by, unsure)


def _raise(kva: Floats, by: Numbers, after: Floats, of: Numbers) -> None:
    """Takes in what is worse. after: feeds × losses × phases."""
    peaks = np.fmax.reduce(after, axis=2, initial=-np.inf)
    loss = peaks.argmax(axis=1)
    worse = np.take_along_axis(peaks, loss[:, None], 1)[:, 0] > np.fmax.reduce(kva, axis=1, initial=-np.inf) + 1e-12
    by[worse] = of[loss[worse]]
    highest = np.fmax.reduce(after, axis=1, initial=-np.inf)
    np.fmax(kva, np.where(np.isinf(highest), np.nan, highest), out=kva, where=~np.isnan(kva))


def _along(network: Network, loads: Loads, lost: Bools, of: Numbers, so_far: Worst) -> None:
    """As `_raise` after `_after`, where nothing has two feeders: only what moves is looked at, along its ways up."""
    alive = network.alive(lost | loads.dead[:, None])
    was = network.alive(loads.dead)[network.cord_feed]
    live = alive[network.cord_feed]
    cord, loss = np.nonzero(live != was[:, None])
    pairs = np.unique(network.cord_rack[cord] * len(of) + loss)
    rack, loss = np.divmod(pairs, len(of))
    # Every cord of every rack that a loss touches.
    first, number = np.searchsorted(network.cord_rack, rack), network.cords[rack]
    pair = np.repeat(np.arange(len(pairs)), number)
    cord = np.arange(len(pair)) - np.repeat(np.cumsum(number) - number, number) + first[pair]
    loss = loss[pair]
    moved = _shared_out(loads.cord_kva[cord], live[cord, loss], pair, len(pairs)) - loads.cord_kva[cord]
    parent = np.full(len(network.feeds), -1, np.intp)
    parent[network.child] = network.parent
    here, keys, deltas = network.cord_feed[cord], [], []
    while len(here):
        keys.append(here * len(of) + loss)
        deltas.append(moved)
        up = parent[here] >= 0
        here, loss, moved = parent[here[up]], loss[up], moved[up]
    if not keys:
        return
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    delta = np.zeros((len(key), 3))
    np.add.at(delta, where, np.concatenate(deltas))
    feed, loss = np.divmod(key, len(of))
    keep = alive[feed, loss]
    feed, loss, after = feed[keep], loss[keep], loads.feed_kva[feed[keep]] + delta[keep]
    so_far.unsure[feed[np.logical_or.reduce(np.isnan(after), axis=1)]] = True
    peak = np.fmax.reduce(after, axis=1, initial=-np.inf)
    order = np.argsort(peak, kind="stable")
    highest = np.full(len(network.feeds), -1, np.intp)
    highest[feed[order]] = order  # the last one written is the highest
    feeds = np.flatnonzero(highest >= 0)
    worse = peak[highest[feeds]] > np.fmax.reduce(so_far.kva[feeds], axis=1, initial=-np.inf) + 1e-12
    so_far.by[feeds[worse]] = of[loss[highest[feeds[worse]]]]
    raised = so_far.kva.copy()
    np.fmax.at(raised, feed, after)
    np.copyto(so_far.kva, raised, where=~np.isnan(so_far.kva))


def _shared_out(kva: Floats, live: Bools, group: Numbers, groups: int) -> Floats:
    """Loads by phase of cords in groups when these are live: the live ones take all, in the proportion in which they
    carried theirs; equally where they carried nothing."""
    whole, left, number = np.zeros((groups, 3)), np.zeros((groups, 3)), np.zeros(groups)
    np.add.at(whole, group, kva)
    carried = np.where(live[:, None], kva, 0.0)
    np.add.at(left, group, carried)
    np.add.at(number, group, live.astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        # The share first: it is at most 1, however little is left.
        scaled, equal = carried / left[group] * whole[group], (whole / number[:, None])[group]
    taken = np.where(left[group] > 0.0, scaled, equal)
    return np.where(live[:, None], np.where(np.isnan(left[group]), np.nan, taken), 0.0)


def _apart(network: Network) -> list[int]:
    """Feeds whose loss has to be looked at on its own: all but taps, whose loss moves one rack's load to its other
    cords alone; and taps where that passes feeds on the way up to one that both hang on."""
    apart = np.flatnonzero(~network.tap).tolist()
    racks, feeds = network.cord_rack.tolist(), network.cord_feed.tolist()
    by_rack: dict[int, list[int]] = {}
    for rack, feed in zip(racks, feeds, strict=True):
        by_rack.setdefault(rack, []).append(feed)
    for group in by_rack.values():
        for tap in group:
            others = [other for other in group if other != tap]
            if network.tap[tap] and any(
                up in network.above[other] and up not in network.feeders[other]
                for up in network.feeders[tap]
                for other in others
            ):
                apart.append(tap)
    return apart


def _taps(network: Network, loads: Loads, kva: Floats, by: Numbers, unsure: Bools) -> None:
    """What the loss of one cord does to the taps of the same rack."""
    first = np.searchsorted(network.cord_rack, network.cord_rack)
    place = np.arange(len(network.cord_rack)) - first  # of a cord among those of its rack
    for lost in range(int(network.cords.max(initial=0))):
        live = (place != lost) & ~loads.dead[network.cord_feed]
        cords = _moved(network, loads, live[:, None])[:, 0]
        here = np.flatnonzero(live & network.tap[network.cord_feed] & (network.cords[network.cord_rack] > lost))
        feeds = network.cord_feed[here]
        gone = network.cord_feed[first[here] + lost]
        unsure[feeds] |= np.logical_or.reduce(np.isnan(cords[here]), axis=1)
        worse = cords[here].max(axis=1) > kva[feeds].max(axis=1) + 1e-12
        by[feeds[worse]] = gone[worse]
        kva[feeds] = np.where(np.isnan(kva[feeds]), kva[feeds], np.fmax(kva[feeds], cords[here]))


def _after(network: Network, loads: Loads, lost: Bools) -> After:
    alive = network.alive(lost | loads.dead[:, None])
    live = alive[network.cord_feed]
    cords = _moved(network, loads, live)
    before_alive = network.alive(loads.dead)
    before = sums(network, loads.cord_kva, before_alive)
    # What a meter sees beyond its known racks stays where it is.
    beyond = np.where(np.isnan(loads.feed_kva), np.nan, loads.feed_kva - before)
    feeds = sums(network, cords, alive) + np.where(alive[:, :, None], beyond[:, None, :], 0.0)
    feeds = np.where(alive[:, :, None], feeds, 0.0)
    had = np.zeros(len(network.racks), np.bool_)
    np.logical_or.at(had, network.cord_rack, before_alive[network.cord_feed])
    has = np.zeros((len(network.racks), lost.shape[1]), np.bool_)
    np.logical_or.at(has, network.cord_rack, live)
    roots_lost = lost & (before_alive & network.blind)[:, None]
    for down, up in network.steps():  # what hangs on a lost feed is counted there already
        roots_lost[down] &= ~lost[up]
    adrift = np.where(roots_lost, np.maximum(np.nan_to_num(beyond).sum(axis=1), 0.0)[:, None], 0.0).sum(axis=0)
    return After(feeds, cords, alive, had[:, None] & ~has, adrift)


def _moved(network: Network, loads: Loads, live: Bools) -> Floats:
    """Loads of cords when these are live: by cord, loss and phase."""
    racks = len(network.racks)
    moved = [_shared_out(loads.cord_kva, live[:, loss], network.cord_rack, racks) for loss in range(live.shape[1])]
    return np.stack(moved, axis=1)
