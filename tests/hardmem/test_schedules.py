"""Schedules: soft at the start, hard from the stated update on, the share of soft updates as promised."""

import pytest

from hardmem.estimators.schedules import SCHEDULES, geometric, in_share, is_soft, softness


@pytest.mark.parametrize("name", SCHEDULES)
def test_softness_falls_from_one_to_zero(name: str) -> None:
    values = [softness(name, update, 100) for update in range(120)]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values, reverse=True)
    assert values[0] == (0 if name == "hard" else 1)
    assert values[100:] == [0] * 20


def test_shapes_halfway() -> None:
    found = {name: softness(name, 50, 100) for name in SCHEDULES}
    assert found == pytest.approx(
        {"hard": 0, "step": 1, "linear": 0.5, "cosine": 0.5, "geometric": 0.1, "inverse-sqrt": 50.5**-0.5}
    )


def test_the_share_of_soft_updates_is_the_softness() -> None:
    soft = [is_soft("linear", update, 1000) for update in range(1200)]
    assert sum(soft[:1000]) == pytest.approx(500, abs=25)
    assert sum(soft[:100]) == pytest.approx(95, abs=5)
    assert not any(soft[1000:])


def test_no_updates_are_hard_from_the_start() -> None:
    assert softness("linear", 0, 0) == 0


def test_a_share_is_spread_evenly() -> None:
    """Any ten updates in a row hold a half of ten, give or take one."""
    half = [in_share(update, 0.5) for update in range(200)]
    assert all(4 <= sum(half[start : start + 10]) <= 6 for start in range(190))
    assert not any(in_share(update, 0.0) for update in range(100))
    assert all(in_share(update, 1.0) for update in range(100))


def test_a_geometric_fall() -> None:
    """By equal ratios from one end to the other, and no further."""
    assert [geometric(0.4, 0.1, update, 4) for update in (0, 2, 4, 9)] == pytest.approx([0.4, 0.2, 0.1, 0.1])
    assert geometric(0.4, 0.1, 0, 0) == 0.1
    assert geometric(0.0, 0.0, 3, 4) == 0.0


@pytest.mark.parametrize("ends", [(0.1, 0.0), (0.0, 0.1), (-0.1, 0.1)])
def test_a_geometric_fall_needs_two_positive_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(
        ValueError, match=f"two positive ends, or two zeros, got {ends[0]} and {ends[1]} at update 0 of"
    ):
        geometric(*ends, 0, 10)


def test_bad_arguments_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"unknown schedule 'lineal'; choose one of \['cosine'"):
        softness("lineal", 0, 10)
    with pytest.raises(ValueError, match="must not be negative, got -1 and 10"):
        softness("linear", -1, 10)
