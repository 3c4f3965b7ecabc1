"""POPGym through the wrapper: a scripted policy without any other memory earns 1.0, so the cells suffice."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from hardmem.envs import VectorExternalMemory

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # POPGym's spaces are not Gymnasium's taste
pytest.importorskip("popgym")

BACK, ON = 0, 2  # among the moves -1, 0, 1 and home


def recall(seen):
    """Around a ring of k - 1 cells: write what is shown, go on, and say what is read."""
    return np.stack([np.full(len(seen), ON), np.ones(len(seen), dtype=int), seen[:, 4:8].argmax(axis=1)], axis=1)


def recall_on_a_ring(seen):
    """The same where the head goes on by itself."""
    return recall(seen) * [0, 1, 1]


def recite_backwards(seen):
    """While watching write and go on; then go back, and say what is read; the last card is still shown itself."""
    watching, full = seen[:, 1] > 0, seen[:, 12] > 0
    answer = np.where(full, seen[:, 8:12].argmax(axis=1), seen[:, 2:6].argmax(axis=1))
    return np.stack([np.where(watching, ON, BACK), watching.astype(int), answer], axis=1)


def recite_on_a_shuttle(seen):
    """The same where there is no other move than back and on."""
    return np.minimum(recite_backwards(seen), [1, 1, 3])


@pytest.mark.parametrize(
    ("name", "memory", "num_cells", "policy"),
    [
        ("RepeatPreviousEasy", "tape", 3, recall),
        ("RepeatPreviousMedium", "tape", 31, recall),
        ("RepeatPreviousHard", "tape", 63, recall),
        ("RepeatPreviousMedium", "ring", 31, recall_on_a_ring),
        ("RepeatPreviousHard", "ring", 63, recall_on_a_ring),
        ("AutoencodeEasy", "tape", 52, recite_backwards),
        ("AutoencodeEasy", "shuttle", 52, recite_on_a_shuttle),
    ],
)
def test_exact_memory_earns_one(name, memory, num_cells, policy):
    """In eight episodes each; with a cell less or more, where the ring no longer fits, it earns far less."""

    def play(cells):
        envs = gym.make_vec(f"popgym:popgym-{name}-v0", 8, vectorization_mode="sync")
        envs = VectorExternalMemory(envs, memory, num_cells=cells)
        seen, _ = envs.reset(seed=0)
        total, running = np.zeros(8), np.ones(8, dtype=bool)
        while running.any():
            seen, reward, terminated, truncated, _ = envs.step(policy(seen))
            total += reward * running
            running &= ~(terminated | truncated)
        return total

    np.testing.assert_allclose(play(num_cells), 1.0, atol=1e-9)
    if name != "AutoencodeEasy":
        assert play(num_cells + 1).mean() < 0
