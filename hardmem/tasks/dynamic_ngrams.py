"""DynamicNGrams: what comes next in a sequence whose statistics are its own (Graves et al. 2014, section 4.4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least
from hardmem.tasks.dealing import Deal, Dealt, Layout

MAX_CONTEXTS = 4096
"""Contexts a task may count; many more than a problem shows, and few enough to have a table of them for each."""


@dataclasses.dataclass(frozen=True)
class DynamicNGrams(Dealt):
    """Symbols, each drawn from a distribution of the c before it; L of them are asked for before they are shown.

    One episode of length 4 with symbols 1 and 2 after a context of c = 2; `t` counts steps:

        t         0  1  2  3  4
        inputs    1  2  2  1  2
        targets   .  2  1  2  2
        source    -  -  -  -  2

    For every context a problem has a distribution of its own, drawn once from the Dirichlet distribution of parameters
    1/2: for two symbols, the paper's Beta(1/2, 1/2). The first c symbols are uniform. An answer is drawn after the
    question, so no step shows it: its source is the last step, before the present one, to show what followed the same
    context, -1 where there is none.

    Best is to count: where s has followed the present context N_s times, and all V symbols N times, the next is s with
    probability (N_s + 1/2) / (N + V/2) (`predictive`); for two symbols (N1 + 1/2) / (N0 + N1 + 1), the paper's Bayesian
    estimator (its section 4.4). Answering the likeliest is optimal play, and earns less than 1.0: at the default preset
    0.72 of all answers are right, and 0.68 of those of a problem in the mean (a short one has seen little). A policy
    without memory does best to say the symbol shown, 0.56 there: what follows itself is seen more often (`memoryless`).
    Uniform actions earn 1 / num_symbols.

    Args:
        num_symbols: V, >= 1; 2 in the paper.
        min_length: fewest symbols asked for.
        max_length: most symbols asked for; 195 in the paper, that counts the first context too and has 200.
        context: c, the symbols that the next one depends on, >= 1; 5 in the paper: 6-grams.
    """

    num_symbols: int = 2
    max_length: int = 20
    context: int = 2

    shows_answers: ClassVar[bool] = False

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 10, "context": 1},
        "default": {},
        "longer": {"min_length": 195, "max_length": 195, "context": 5},
        "longest": {"min_length": 1000, "max_length": 1000, "context": 7},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, context=self.context)
        if self.num_contexts > MAX_CONTEXTS:
            raise ValueError(
                f"num_symbols ** context must be at most {MAX_CONTEXTS}, got {self.num_symbols} ** {self.context}"
            )

    @property
    def optimum(self) -> float:
        """The mean share of right answers of Bayes's best guess, over problems drawn with a seed of its own.

        What the best guess is expected to get right is known for each problem, so that 2,048 of them leave a standard
        error of 0.002 at the default preset.
        """
        problem = self.draw(2048, generator=torch.Generator().manual_seed(0))
        return self._expected(problem, self.predictive(problem.inputs).argmax(dim=-1))

    @property
    def memoryless(self) -> float:
        """The mean share of right answers of who says the symbol shown, over problems as for the `optimum`.

        Where symbols tend to follow themselves, they are shown more often, so that this is more than guessing; and all
        other answers to what is shown are one another's equals.
        """
        problem = self.draw(2048, generator=torch.Generator().manual_seed(0))
        return self._expected(problem, problem.inputs[..., 0] - 1)

    def _expected(self, problem: Problem, answer: Tensor) -> float:
        """The mean share of answers, (T, B) from 0, that are right, given what was shown."""
        chance = self.predictive(problem.inputs).gather(-1, answer.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return float(((chance * problem.mask).sum(dim=0) / problem.mask.sum(dim=0)).mean())

    @property
    def num_contexts(self) -> int:
        """V^c."""
        return int(self.num_symbols**self.context)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols,)

    @property
    def num_steps(self) -> int:
        return self.context + self.max_length - 1

    @property
    def num_stored(self) -> int:
        return self.num_steps  # all of them: what is counted is what was shown

    @property
    def num_cells(self) -> int:
        return self.num_stored

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        """Deal problems by Polya's urn: each symbol from the `predictive` of those before it.

        That is the distribution of sequences whose distributions are drawn first, without drawing any.
        """
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = (num_problems, self.context)
        symbols = list(torch.randint(0, self.num_symbols, shape, generator=generator, device=device).T)
        uniform = torch.rand((self.max_length, num_problems, 1), generator=generator, device=device)
        context, counts = self._code(symbols), self._no_counts(symbols[0])
        for point in uniform:
            cdf = self._predictive(counts, context).cumsum(dim=1)  # (B, V)
            symbols.append((point >= cdf).sum(dim=1).clamp(max=self.num_symbols - 1))
            context = self._count(counts, context, symbols[-1])
        return self._deal(torch.stack(symbols, dim=1) + 1, lengths)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given symbols; the last one is asked for and not shown.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range.
        """
        if not self.min_length <= len(symbols) - self.context <= self.max_length:
            raise ValueError(
                f"the input must have {self.context + self.min_length} to {self.context + self.max_length} symbols, "
                f"the first context included, got {len(symbols)}"
            )
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        padded = [*symbols, *[1] * (self.context + self.max_length - len(symbols))]
        length = torch.tensor([len(symbols) - self.context], device=device)
        return self.lay_out(*self.layouts(self._deal(torch.tensor([padded], device=device), length)))

    def predictive(self, inputs: Tensor) -> Tensor:
        """The probability of every symbol to be the next, given all that is shown up to each step.

        Args:
            inputs: as in `Problem`, (T, B, 1).

        Returns:
            (T, B, V), float32, rows summing to 1; of no meaning where nothing is asked.
        """
        symbols = (inputs[..., 0] - 1).clamp(min=0).unbind()
        context, counts = self._code(symbols[: self.context]), self._no_counts(symbols[0])
        rows = [torch.full_like(self._predictive(counts, context), 1 / self.num_symbols)] * (self.context - 1)
        rows.append(self._predictive(counts, context))
        for symbol in symbols[self.context :]:
            context = self._count(counts, context, symbol)
            rows.append(self._predictive(counts, context))
        return torch.stack(rows)

    def _code(self, symbols: Sequence[Tensor]) -> Tensor:
        """Contexts, c symbols from 0, (B,) each, as numbers, (B,)."""
        code = torch.zeros_like(symbols[0])
        for symbol in symbols:
            code = code * self.num_symbols + symbol
        return code

    def _no_counts(self, like: Tensor) -> Tensor:
        """How often each symbol has followed each context so far: (B, V^c, V), of the device of a tensor (B,)."""
        return torch.zeros((len(like), self.num_contexts, self.num_symbols), device=like.device)

    def _predictive(self, counts: Tensor, context: Tensor) -> Tensor:
        """What follows the contexts (B,), (B, V)."""
        index = context[:, None, None].expand(-1, 1, self.num_symbols)
        found = counts.gather(1, index).squeeze(1)  # (B, V)
        return (found + 0.5) / (found.sum(dim=1, keepdim=True) + self.num_symbols / 2)

    def _count(self, counts: Tensor, context: Tensor, symbol: Tensor) -> Tensor:
        """Count in place that a symbol (B,) followed a context (B,); returns the next context."""
        code = context * self.num_symbols + symbol
        counts.flatten(1).scatter_add_(1, code.unsqueeze(1), torch.ones_like(counts[:, 0, :1]))
        return code % self.num_contexts

    def _deal(self, symbols: Tensor, lengths: Tensor) -> Deal:
        """The rows: blank and symbols (B, context + max_length), of which context and `lengths` (B,) count."""
        rows = torch.cat([torch.zeros_like(symbols[:, :1]), symbols], dim=1).unsqueeze(-1)
        first = [symbols[:, place] - 1 for place in range(self.context)]
        context, shape = self._code(first), (len(symbols), self.num_contexts)
        known = torch.full(shape, -1, device=symbols.device)  # the last step to show what followed each context
        sources, shown = [torch.full_like(rows[:, : self.context + 1, 0], -1)], context
        for step in range(self.context, symbols.shape[1]):
            # Symbol `step` is asked for at the step before its own, which shows what the last context was followed by.
            sources.append(known.gather(1, context.unsqueeze(1)))
            if step > self.context:
                known.scatter_(1, shown.unsqueeze(1), step - 1)
            shown, context = context, (context * self.num_symbols + symbols[:, step] - 1) % self.num_contexts
        return Deal(lengths - self.min_length, rows, torch.cat(sources, dim=1).unsqueeze(-1))

    def layout(self, case: Tensor) -> Layout:
        lengths = (case + self.min_length).unsqueeze(1)
        step = torch.arange(self.num_steps, device=case.device)
        end = self.context + lengths - 1  # when all is asked for
        shown = torch.where(step < end, step + 1, 0)
        return Layout(shown, torch.where((step >= self.context - 1) & (step < end), step + 2, 0))
