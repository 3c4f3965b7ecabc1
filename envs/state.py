"""State: what is known of B episodes under way, and the problems they play."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from hardmem.envs.contents import Memory


class Script(NamedTuple):
    """B problems step by step, batch-first.

    Each has T + 1 steps: at the last, nothing is shown or asked. There an episode rests that has ended.

    Attributes:
        rows: what is shown, as the code of it; the answer due, as the action numbers answers, -1 for none; and the S
            steps whose content answers, -1 for none: (B, 2 + S, T + 1), int32.
        num_steps: when each episode ends, (B,).
        num_answers: answers it asks for, (B,), float.
    """

    rows: Tensor
    num_steps: Tensor
    num_answers: Tensor

    @property
    def shown(self) -> Tensor:
        """What is shown, as the code of it, (B, T + 1), int64."""
        return self.rows[:, 0].long()

    @property
    def due(self) -> Tensor:
        """The answer due, as the action numbers answers, (B, T + 1), int64; -1 where none is due."""
        return self.rows[:, 1].long()

    @property
    def source(self) -> Tensor:
        """The steps whose content answers, (B, T + 1, S), int64, as in `Problem`; -1 for none."""
        return self.rows[:, 2:].transpose(1, 2).long()


class Hand(NamedTuple):
    """B problems as they are dealt: what may be shown or due, in no more room than it needs, and how it is laid out.

    An episode can be played from it as from a `Script`: one look-up more at a step, but a few numbers to draw and copy
    for an episode where a script has three for every step. `hardmem.envs.dealer` makes the one, and of it the other.

    Attributes:
        row: the codes of what may be shown and the answers that may be due, side by side as the dealer has it, (B, P),
            int16 if that will do, else int32.
        source: the S steps whose content answers, for each of D rows that may be due, (B, S, D), likewise.
        first: where the first step is in the dealer's `places`, (B,).
        num_steps: as in a script.
        num_answers: as in a script.
    """

    row: Tensor
    source: Tensor
    first: Tensor
    num_steps: Tensor
    num_answers: Tensor


class State(NamedTuple):
    """B episodes under way. The caller holds it; `step` and `replace` write into it, so go on with what they return.

    What is shown or stored is a number here, a code: `Dynamics.contents` turns it into symbols.

    Attributes:
        script: the problems; where episodes are restarted all the time, a `Hand` stands here.
        clock: steps played, (B,).
        shown: what is shown now, (B,), in the type of the script's rows.
        due: the answer due now, (B,), likewise; -1 for none.
        memory: what the cells hold.
        head: where each head is, (B, H).
        place: where the cells under the heads are among those of all episodes, (B, H).
        under: what the cells under the heads hold, (B, H).
        num_correct: answers given right so far, (B,), float.
    """

    script: Script
    clock: Tensor
    shown: Tensor
    due: Tensor
    memory: Memory
    head: Tensor
    place: Tensor
    under: Tensor
    num_correct: Tensor

    @property
    def earned(self) -> Tensor:
        """Right answers so far as a fraction of those asked for, (B,): the return so far."""
        return self.num_correct / self.script.num_answers

    @property
    def running(self) -> Tensor:
        """Which episodes have not ended yet, (B,), bool."""
        return self.clock < self.script.num_steps


class Step(NamedTuple):
    """What a step brings: observation (B, O) float32, reward (B,) float32, terminated (B,) bool."""

    observation: Tensor
    reward: Tensor
    terminated: Tensor
