"""Statistics of a few seeds: interquartile means with bootstrap intervals, success rates with Wilson's.

Agarwal, Schwarzer, Castro, Courville & Bellemare 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", arXiv:2108.13264, section 4: the interquartile mean is robust to a seed that fails, unlike the mean, and
says more than the median; its interval is the percentile one, from runs resampled within each task (stratified).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPETITIONS = 2000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """The mean of the middle half: a quarter of the scores, rounded down, is left out at each end.

    Args:
        scores: one or more along the axis. Of fewer than four none is left out: it is their mean.
        axis: to be averaged over.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=axis)
    count = ordered.shape[axis]
    middle = np.arange(count // 4, count - count // 4)
    return np.asarray(ordered.take(middle, axis=axis).mean(axis=axis))


def bootstrap(scores: ArrayLike, seed: int = 0) -> Interval:
    """The interquartile mean of all scores with its stratified bootstrap interval.

    Args:
        scores: (runs,) of one task, or (runs, tasks); runs are drawn anew for each task on its own.
        seed: of the resampling; equal scores give equal intervals.

    Returns:
        With a single run the interval is that run: nothing is known of the spread.

    Raises:
        ValueError: if there is no score.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.size == 0:
        raise ValueError("expected at least one score, got none")
    table = table.reshape(len(table), -1)  # (runs, tasks)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(table), size=(REPETITIONS, *table.shape))
    resampled = np.take_along_axis(table[np.newaxis], drawn, axis=1).reshape(REPETITIONS, -1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(interquartile_mean(resampled), [tail, 1 - tail])
    return Interval(float(interquartile_mean(table.reshape(-1))), float(low), float(high))


def wilson(successes: int, trials: int) -> Interval:
    """A success rate with Wilson's score interval, which stays inside [0, 1] and is not empty at 0 or all.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".

    Raises:
        ValueError: if there is no trial, or successes are not from 0 to all.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials and a trial, got {successes} of {trials}")
    z = 1.959964  # the normal deviate of 95 %
    rate, weight = successes / trials, z**2 / trials
    centre = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))
