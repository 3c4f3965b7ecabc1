"""Memory networks: facts in cells, and K hops from a question to the facts that answer it.

One class for two papers. With hard access and supervised addresses it is the Memory Network of Weston, Chopra & Bordes
2015, arXiv:1410.3916; with soft access and no supervision the one trained end to end of Sukhbaatar et al. 2015,
"End-To-End Memory Networks", arXiv:1503.08895; with hard access and no supervision REINFORCE finds the addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardmem.access import AccessRecord
from hardmem.addressing import entropy, sample_index
from hardmem.baselines.base import Baseline
from hardmem.estimators import surrogate
from hardmem.tasks import Problem

SUPERVISION = ("none", "partial", "full")
TYING = ("adjacent", "layer-wise")
FACT_ACCESS = ("soft", "sampled", "argmax")


class Facts(NamedTuple):
    """What is in the cells.

    Attributes:
        words: the C symbols of each fact, (B, F, C), numbered as words of one vocabulary, 0 for the blank.
        mask: whether there is a fact, (B, F), bool.
    """

    words: Tensor
    mask: Tensor


class Answer(NamedTuple):
    """What a network says to its questions.

    Attributes:
        logits: of the answers, (Q, B, O).
        record: the facts chosen, fields (Q, B, K); the number after the last fact's means to stop. None where soft.
        scores: how well each fact matched at each hop, (Q, B, K, F + 1), the last of them to stop; -inf for no fact.
    """

    logits: Tensor
    record: AccessRecord | None
    scores: Tensor


class MemoryNetwork(nn.Module):
    """Embedded facts, an embedded question, and hops: match, read, add, and match again.

    Called like `torch.nn.LSTM`: `logits, facts = network(questions, network.store(facts))`.

    Facts and questions are rows of C symbols, one per channel, as `Problem.inputs` has them; each channel has words of
    its own. A hop matches its question u with every fact and adds to u what it read (Sukhbaatar et al. eqs. 1-4).
    One match more stands for stopping: it adds nothing, and under hard access nothing is read after it.

    Args:
        input_sizes: symbols in each channel, blank excluded.
        answer_channel: the channel whose symbols are the answers.
        num_hops: K. With layer-wise tying also an attribute: hops that share all they have may be more later.
        max_facts: F, the most facts that can be told apart by their age.
        hidden_size: width of an embedding, D.
        access: "soft", "sampled" or "argmax"; an attribute.
        supervision: which facts the loss may be told: "none", "partial" (the one that answers) or "full" (every hop).
        tying: "adjacent": what a hop reads by is what the next one matches by, the first is the question's and the
            last is the answer's; "layer-wise": all hops share theirs, with a linear map between hops (section 2.2).
        position_encoding: whether the place of a symbol in its row counts (section 4.1); symbols of different channels
            differ without it.
        time_noise: probability with which an empty fact is thought in between two when ages are counted in training.
        margin: by how much the right fact has to match better than each other one, where it is supervised.
        batch_first: whether facts and questions are (B, F, C) instead of (F, B, C).

    The attribute `linear`, to be set while training starts, replaces the softmax over facts by nothing (linear start,
    section 4.2).

    Raises:
        ValueError: if a name is unknown, or a number below 1.
    """

    position: Tensor
    offsets: Tensor

    def __init__(
        self,
        input_sizes: Sequence[int],
        answer_channel: int,
        *,
        num_hops: int,
        max_facts: int,
        hidden_size: int = 32,
        access: str = "soft",
        supervision: str = "none",
        tying: str = "adjacent",
        position_encoding: bool = False,
        time_noise: float = 0.0,
        margin: float = 0.1,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in {"num_hops": num_hops, "max_facts": max_facts, "hidden_size": hidden_size}.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        for name, given, known in (("supervision", supervision, SUPERVISION), ("tying", tying, TYING)):
            if given not in known:
                raise ValueError(f"unknown {name} {given!r}; choose one of {list(known)}")
        self.input_sizes, self.answer_channel = tuple(input_sizes), answer_channel
        self.num_hops, self.max_facts, self.access, self.supervision = num_hops, max_facts, access, supervision
        self.tying, self.time_noise, self.margin, self.batch_first = tying, time_noise, margin, batch_first
        self.linear = False
        self._check_access()

        num_words = 1 + sum(self.input_sizes)
        offsets = [sum(self.input_sizes[:channel]) for channel in range(len(self.input_sizes))]
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)
        # Adjacent: tables 0 to K, of which hop k matches by k and reads by k + 1. Layer-wise: question, match, read.
        num_tables = num_hops + 1 if tying == "adjacent" else 3
        self.words = nn.ModuleList(nn.Embedding(num_words, hidden_size, padding_idx=0) for _ in range(num_tables))
        self.ages = nn.ModuleList(nn.Embedding(max_facts, hidden_size) for _ in range(num_tables))
        self.stop = nn.Parameter(torch.empty(num_hops if tying == "adjacent" else 1, hidden_size))
        self.between = None if tying == "adjacent" else nn.Linear(hidden_size, hidden_size, bias=False)
        self.answer_layer = None if tying == "adjacent" else nn.Linear(hidden_size, input_sizes[answer_channel], False)
        self.register_buffer("position", _position_encoding(len(offsets), hidden_size, dtype), persistent=False)
        self.position_encoding = position_encoding
        self.reset_parameters()
        self.to(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Normal numbers of deviation 0.1, as the second paper has them; the blank stays zero.

        With layer-wise tying a question starts with the words that it is matched by, as it does with adjacent tying,
        and the map between hops at zero. Without that drawn hops have learned to avoid the question's own fact: the
        last hop has no use for it, and what the last hop learns all of them do.
        """
        for name, parameter in self.named_parameters():
            nn.init.normal_(parameter, std=0.1)
            if name.startswith("words."):
                with torch.no_grad():
                    parameter[0].zero_()
        if self.between is not None:
            nn.init.zeros_(self.between.weight)
            self.words[0].load_state_dict(self.words[1].state_dict())

    def extra_repr(self) -> str:
        return f"num_hops={self.num_hops}, access={self.access!r}, supervision={self.supervision!r}"

    def store(self, facts: Tensor, mask: Tensor | None = None, state: Facts | None = None) -> Facts:
        """Facts (F, B, C), and which there are, (F, B), after those of a state.

        Raises:
            ValueError: if they do not fit, or there are more than `max_facts`.
        """
        words = self._words(facts)
        if mask is None:
            present = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        else:
            present = mask if self.batch_first else mask.transpose(0, 1)
        if state is not None:
            words, present = torch.cat([state.words, words], dim=1), torch.cat([state.mask, present], dim=1)
        if words.shape[1] > self.max_facts:
            raise ValueError(f"at most max_facts = {self.max_facts} facts can be stored, got {words.shape[1]}")
        return Facts(words, present)

    def forward(
        self, questions: Tensor, state: Facts, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Facts]:
        """Questions (Q, B, C) about the facts -> logits (Q, B, O), and the facts as they were."""
        return self.answer(questions, state, generator).logits, state

    def answer(
        self, questions: Tensor, state: Facts, generator: torch.Generator | None = None, choices: Tensor | None = None
    ) -> Answer:
        """`forward`, and what was chosen on the way.

        Args:
            questions: (Q, B, C).
            state: the facts.
            generator: for what is drawn.
            choices: facts that hard access takes, (Q, B, K), int64: F to stop, -1 to go by the access.
        """
        return self._answer(questions, state, generator, choices, sum_last=False)

    def _answer(
        self,
        questions: Tensor,
        state: Facts,
        generator: torch.Generator | None,
        choices: Tensor | None,
        *,
        sum_last: bool,
    ) -> Answer:
        """`answer`; with `sum_last` the last hop is not drawn, but summed over.

        The logits are then the logarithms of p(answer) = sum over facts of p(fact) p(answer | fact), Wu, Shapiro &
        Cotterell 2018, arXiv:1808.10024, section 3, and the record has the K - 1 hops before.
        """
        self._check_access()
        asked = self._words(questions)  # (B, Q, C)
        if choices is not None and not self.batch_first:
            choices = choices.transpose(0, 1)
        u = self._embed(self.words[0], asked)
        age = self._age(state.mask, generator)
        allowed = F.pad(state.mask, (0, 1), value=True).unsqueeze(1).expand(-1, asked.shape[1], -1)  # (B, Q, F + 1)
        stopped = torch.zeros_like(allowed[..., :1])
        scores, records = [], []
        for hop in range(self.num_hops):
            matching, reading = (hop, hop + 1) if self.tying == "adjacent" else (1, 2)
            keys = self._embed(self.words[matching], state.words) + self.ages[matching](age)
            values = self._embed(self.words[reading], state.words) + self.ages[reading](age)
            stop = self.stop[min(hop, len(self.stop) - 1)].expand(len(keys), 1, -1)
            match = (u @ torch.cat([keys, stop], dim=1).transpose(1, 2)).masked_fill(~allowed, -torch.inf)
            scores.append(match)
            chosen = None if choices is None else choices[..., hop : hop + 1]
            u = u if self.between is None else self.between(u)
            if sum_last and hop == self.num_hops - 1:
                log_weights = _only(chosen, _log_weights(match, stopped))
                u = u.unsqueeze(2) + F.pad(values, (0, 0, 0, 1)).unsqueeze(1)  # after each fact: (B, Q, F + 1, D)
                break
            weights, record = self._access(match, stopped, chosen, generator)
            if record is not None:
                records.append(record)
                stopped = record.index == state.mask.shape[1]
            u = u + weights[..., :-1] @ values  # eqs. 2 and 4
        if self.answer_layer is None:
            first = 1 + sum(self.input_sizes[: self.answer_channel])
            answers = torch.arange(first, first + self.input_sizes[self.answer_channel], device=u.device)
            logits = u @ self.words[-1](answers).T
        else:
            logits = self.answer_layer(u)  # eq. 3, before its softmax
        if sum_last:
            logits = (log_weights.unsqueeze(-1) + logits.log_softmax(dim=-1)).logsumexp(dim=2)
        together = torch.stack(scores, dim=2)
        record = AccessRecord(*(torch.cat(field, dim=-1) for field in zip(*records, strict=True))) if records else None
        if self.batch_first:
            return Answer(logits, record, together)
        swapped = None if record is None else AccessRecord(*(field.transpose(0, 1) for field in record))
        return Answer(logits.transpose(0, 1), swapped, together.transpose(0, 1))

    def loss(
        self,
        questions: Tensor,
        targets: Tensor,
        state: Facts,
        *,
        support: Tensor | None = None,
        mask: Tensor | None = None,
        baseline: Baseline | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """What to minimise: cross-entropy of the answers, margins where facts are supervised, REINFORCE for the rest.

        Where facts are drawn the last is not: the answer's probability is summed over the facts it may be. A fact that
        was drawn is held to account for all that follows: the answer, and the margins of the hops after it.

        Args:
            questions: (Q, B, C).
            targets: the answers, (Q, B), int64, numbered from 1.
            state: the facts.
            support: the facts each answer needs, (Q, B, K), int64: F to stop, -1 where it is not known. What the
                `supervision` does not allow is not looked at; where it is known a hard hop takes the right fact (Weston
                et al. section 3.1).
            mask: which questions count, (Q, B).
            baseline: judges drawn facts by the cost of their own question; without one, nothing does.
            generator: for what is drawn.

        Returns:
            A scalar, averaged over the questions that count.

        Raises:
            ValueError: if supervision is asked for and nothing is given.
        """
        known = self._known(support, state.mask.shape[1])
        answer = self._answer(questions, state, generator, known, sum_last=self.access == "sampled")
        counts = torch.ones_like(targets) if mask is None else mask
        cost = F.cross_entropy(answer.logits.flatten(0, 1), (targets.flatten() - 1).clamp(min=0), reduction="none")
        cost = cost.view(targets.shape) * counts
        if known is not None:
            margins = ranking_cost(answer.scores, known, self.margin) * counts.unsqueeze(-1)  # (Q, B, K)
            cost = cost + margins.sum(dim=-1)
        total = cost.sum()
        if answer.record is not None:
            log_prob = answer.record.log_prob
            if known is not None:
                log_prob = log_prob * (known[..., : log_prob.shape[-1]] < 0)
            value = None
            if baseline is not None:
                judged = baseline(cost.detach(), answer.logits.detach(), counts)
                value, total = judged.value, total + judged.loss
            score = surrogate(log_prob * counts.unsqueeze(-1), cost, baseline=value, returns=cost.detach())
            total = total + (score - cost.sum(dim=0).mean()) * cost.shape[1]
        return total / counts.sum()

    def _known(self, support: Tensor | None, num_facts: int) -> Tensor | None:
        """The support that the loss may look at."""
        if self.supervision == "none":
            return None
        if support is None:
            raise ValueError(f"supervision={self.supervision!r} needs support, (Q, B, K), got None")
        if self.supervision == "full":
            return support
        is_fact = (support >= 0) & (support < num_facts)
        answers = is_fact & (is_fact.flip(-1).cumsum(dim=-1).flip(-1) == 1)  # the last of them
        return torch.where(answers, support, -1)

    def _access(
        self, match: Tensor, stopped: Tensor, choice: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, AccessRecord | None]:
        """Matches (B, Q, F + 1), and whether a question has stopped, (B, Q, 1) -> weights and the record, (B, Q, 1)."""
        if self.access == "soft":
            if self.linear:
                return match.masked_fill(match == -torch.inf, 0.0), None
            return match.softmax(dim=-1), None  # eq. 1
        log_weights = _log_weights(match, stopped)
        if self.access == "sampled":
            index = sample_index(log_weights, generator).unsqueeze(-1)
        else:
            index = log_weights.argmax(dim=-1, keepdim=True)
        if choice is not None:
            index = torch.where(choice < 0, index, choice)
        record = AccessRecord(index, log_weights.gather(-1, index), entropy(log_weights).unsqueeze(-1))
        return _one_hot(index, match), record

    def _words(self, symbols: Tensor) -> Tensor:
        """Rows of symbols, (F, B, C), as words of one vocabulary, (B, F, C).

        Raises:
            ValueError: if they are not rows of C symbols.
        """
        if symbols.dim() != 3 or symbols.shape[-1] != len(self.input_sizes):
            layout = "(B, F, C)" if self.batch_first else "(F, B, C)"
            raise ValueError(
                f"facts and questions must be {layout} with C = {len(self.input_sizes)}, got {tuple(symbols.shape)}"
            )
        rows = symbols if self.batch_first else symbols.transpose(0, 1)
        return (rows + self.offsets) * (rows > 0)

    def _embed(self, table: nn.Module, words: Tensor) -> Tensor:
        """Rows of words (..., C) -> (..., D)."""
        embedded: Tensor = table(words)
        return (embedded * self.position).sum(dim=-2) if self.position_encoding else embedded.sum(dim=-2)

    def _age(self, mask: Tensor, generator: torch.Generator | None) -> Tensor:
        """How many facts came after each, (B, F)."""
        counts = mask.long()
        if self.training and self.time_noise:
            drawn = torch.rand(mask.shape, generator=generator, device=mask.device)
            counts = counts + (drawn < self.time_noise)
        after = counts.flip(-1).cumsum(dim=-1).flip(-1) - counts
        return after.clamp(max=self.max_facts - 1)

    def _check_access(self) -> None:
        if self.access not in FACT_ACCESS:
            raise ValueError(f"unknown access {self.access!r}; choose one of {list(FACT_ACCESS)}")


def ranking_cost(scores: Tensor, support: Tensor, margin: float) -> Tensor:
    """How far each fact is from matching worse than the right one by a margin, summed: (..., S), (...) -> (...).

    Weston, Chopra & Bordes 2015, eqs. 6-7, with every wrong fact where the paper draws one. Zero where the support
    is unknown, -1; a fact that is none, of score -inf, costs nothing.
    """
    right = scores.gather(-1, support.clamp(min=0).unsqueeze(-1))
    wrong = ~_one_hot(support.unsqueeze(-1), scores).bool() & (scores > -torch.inf)
    excess = (margin - right + scores.masked_fill(~wrong, -torch.inf)).clamp(min=0)
    return excess.sum(dim=-1) * (support >= 0)


class Questions(NamedTuple):
    """A problem of `FactRecall`, `MultiHop` and their like as facts, questions and answers.

    Attributes:
        facts: (F, B, C).
        facts_mask: (F, B).
        questions: (Q, B, C).
        targets: (Q, B), from 1; 0 where there is no question.
        mask: (Q, B).
        support: the facts needed, (Q, B, K), in order; F, to stop, from then on.
    """

    facts: Tensor
    facts_mask: Tensor
    questions: Tensor
    targets: Tensor
    mask: Tensor
    support: Tensor


def as_questions(problem: Problem, *, max_facts: int, max_questions: int, num_hops: int) -> Questions:
    """Sort the steps of a problem into facts and questions.

    Facts come first, with a symbol in every channel; a cue has none in the last.

    Raises:
        ValueError: if an answer may need more hops than there are.
    """
    inputs, source = problem.inputs, problem.source
    if source.shape[-1] > num_hops:
        raise ValueError(f"an answer of this problem needs up to {source.shape[-1]} hops, got num_hops={num_hops}")
    is_cue = (inputs > 0).any(dim=-1) & (inputs[..., -1] == 0)
    questions = _in_order(inputs, is_cue, max_questions)
    targets = _in_order(problem.targets.unsqueeze(-1), problem.mask, max_questions).squeeze(-1)
    hop = torch.arange(num_hops, device=inputs.device) + (source < 0).sum(dim=-1, keepdim=True)  # (T, B, K)
    beyond = F.pad(source, (0, 1), value=max_facts)
    support = beyond.gather(-1, hop.clamp(max=source.shape[-1]))
    return Questions(
        facts=inputs[:max_facts],
        facts_mask=inputs[:max_facts, :, -1] > 0,
        questions=questions,
        targets=targets,
        mask=targets > 0,
        support=_in_order(support, problem.mask, max_questions),
    )


def _in_order(rows: Tensor, flags: Tensor, count: int) -> Tensor:
    """The flagged rows of each column, moved to the front: (T, B, C), (T, B) -> (count, B, C), zeros after them."""
    number = flags.cumsum(dim=0) - 1
    chosen = (number == torch.arange(count, device=rows.device).view(-1, 1, 1)) & flags  # (count, T, B)
    return (chosen.unsqueeze(-1) * rows).sum(dim=1)


def _log_weights(match: Tensor, stopped: Tensor) -> Tensor:
    """Matches (B, Q, F + 1) -> log-probabilities; all of it on stopping, for good, where a question has stopped."""
    facts, stop = match[..., :-1].masked_fill(stopped, -torch.inf), match[..., -1:].masked_fill(stopped, 0.0)
    return torch.cat([facts, stop], dim=-1).log_softmax(dim=-1)


def _only(choice: Tensor | None, log_weights: Tensor) -> Tensor:
    """Log-weights (..., S); where a choice is given, (..., 1), and is not -1, it is certain."""
    if choice is None:
        return log_weights
    certain = torch.zeros_like(log_weights).masked_fill(~_one_hot(choice, log_weights).bool(), -torch.inf)
    return torch.where(choice < 0, log_weights, certain)


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    """(..., 1) -> (..., S)."""
    return (index == torch.arange(like.shape[-1], device=like.device)).to(like.dtype)


def _position_encoding(num_words: int, hidden_size: int, dtype: torch.dtype | None) -> Tensor:
    """Weights of the words of a row, (C, D): Sukhbaatar et al. 2015, section 4.1, (1 - j/J) - (k/d)(1 - 2j/J)."""
    j = torch.arange(1, num_words + 1, dtype=dtype or torch.get_default_dtype()).unsqueeze(1) / num_words
    k = torch.arange(1, hidden_size + 1, dtype=j.dtype) / hidden_size
    return (1 - j) - k * (1 - 2 * j)
