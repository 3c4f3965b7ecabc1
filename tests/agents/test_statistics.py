"""Interquartile means, bootstrap and Wilson intervals: by hand, against the paper's table, and by coverage."""

from __future__ import annotations

import numpy as np
import pytest

from hardmem.agents.statistics import bootstrap, interquartile_mean, wilson


def test_the_middle_half_by_hand():
    """A quarter, rounded down, is left out at each end: of 8 two, of 5 one, of 3 none."""
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean([0, 1, 1, 0.7, 1]) == pytest.approx(0.9)
    assert interquartile_mean([0, 1, 0.5]) == pytest.approx(0.5)
    assert interquartile_mean([[0, 1], [2, 5]], axis=0).tolist() == [1, 3]


def test_equal_scores_have_no_spread():
    """And one score alone has none that is known; no score is an error."""
    assert bootstrap([0.5] * 5) == (0.5, 0.5, 0.5)
    assert bootstrap([0.3]) == pytest.approx((0.3, 0.3, 0.3))
    with pytest.raises(ValueError, match="expected at least one score, got none"):
        bootstrap([])


def test_runs_are_drawn_within_their_task():
    """Two tasks whose runs agree among themselves: stratified resampling never mixes them, so there is no spread."""
    assert bootstrap([[0.0, 1.0]] * 6) == (0.5, 0.5, 0.5)


def test_the_interval_of_three_runs_by_enumeration():
    """All 27 resamples of three runs: the 2.5 % and 97.5 % quantiles of their means."""
    runs = [0.0, 0.6, 0.9]
    means = [np.mean([a, b, c]) for a in runs for b in runs for c in runs]
    exact = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert bootstrap(runs)[1:] == pytest.approx(tuple(exact), abs=1e-9)


def test_the_interval_covers_the_truth():
    """95 % nominally; of 20 runs the percentile bootstrap is known to cover somewhat less."""
    generator = np.random.default_rng(1)
    covered = 0
    for repetition in range(200):
        _, low, high = bootstrap(generator.normal(size=20), seed=repetition)
        covered += low <= 0 <= high
    assert 0.86 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 5, 0.0, 0.4345), (5, 5, 0.5655, 1.0), (3, 5, 0.2307, 0.8824), (81, 263, 0.2553, 0.3662)],
)
def test_wilson(successes, trials, low, high):
    """By the formula, worked by hand; 81 of 263 is the example of Newcombe 1998, table I."""
    estimate = wilson(successes, trials)
    assert estimate.estimate == successes / trials
    assert estimate[1:] == pytest.approx((low, high), abs=1e-4)


def test_wilson_refuses_what_cannot_be():
    """More successes than trials, or no trial."""
    for successes, trials in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"got {successes} of {trials}"):
            wilson(successes, trials)
