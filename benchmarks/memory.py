"""Time and memory of a step of training, soft and hard, as the number of cells grows.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --peer PATH

Forward and backward, milliseconds of CPU time per time step; controller LSTM of 100, W = 20, one read and one write
head, batch 16, sequences of 20 steps (4 for dense memories of 8,192 cells and more), one thread: the least of the
repeats, in which the contenders take turns. Memory is what autograd keeps for the backward pass, per step. Last, a
rollout: steps without gradients beside `torch.nn.LSTMCell` of the same width. `--peer` is a checkout of
github.com/loudinthecloud/pytorch-ntm, measured where it is given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from hardmem import NTM, Bank

STEPS, BATCH, INPUTS, OUTPUTS, HIDDEN, WIDTH = 20, 16, 9, 8, 100, 20
CELLS = (128, 1024, 8192, 65536)
PEER = "loudinthecloud/pytorch-ntm"

Run = Callable[[Tensor], Tensor]
"""Inputs (T, B, I) -> a scalar to go back from."""


def machine(num_cells: int, **options: str) -> NTM:
    """The machine of the table, without the gates the paper does not have."""
    return NTM(
        INPUTS, OUTPUTS, num_cells=num_cells, cell_width=WIDTH, controller="lstm", hidden_size=HIDDEN, gated=False,
        **options,
    )  # fmt: skip


def soft(num_cells: int) -> Run:
    """Content and location, as in the paper."""
    ntm = machine(num_cells)
    return lambda inputs: ntm(inputs)[0].square().mean()


def hard(num_cells: int, *, on_bank: bool = True) -> Run:
    """Head moves and one sampled cell, on a bank or on a tensor."""
    ntm = machine(num_cells, access="sampled", addressing="head-moves")
    bank = ntm.bank(BATCH) if on_bank else None

    def run(inputs: Tensor) -> Tensor:
        outputs, _, record = ntm.trace(inputs, ntm.initial_state(BATCH, bank=bank))
        return outputs.square().mean() + record.log_prob.mean()

    return run


def lstm(num_cells: int) -> Run:
    """No cells: the floor."""
    network, output_layer = nn.LSTM(INPUTS, HIDDEN), nn.Linear(HIDDEN, OUTPUTS)
    return lambda inputs: output_layer(network(inputs)[0]).square().mean()


def peer(num_cells: int) -> Run:
    """The other implementation, from its own source."""
    from ntm.aio import EncapsulatedNTM

    network = EncapsulatedNTM(INPUTS, OUTPUTS, HIDDEN, 1, 1, num_cells, WIDTH)

    def run(inputs: Tensor) -> Tensor:
        network.init_sequence(BATCH)
        return torch.stack([network(step)[0] for step in inputs]).square().mean()

    return run


def milliseconds(run: Run, inputs: Tensor) -> float:
    """CPU time of one forward and backward pass, per step."""
    start = time.process_time()
    run(inputs).backward()
    return (time.process_time() - start) * 1e3 / len(inputs)


def kept(run: Run, inputs: Tensor) -> float:
    """Megabytes that the forward pass leaves for the backward pass, per step; each storage counted once.

    The step is the difference between sequences of two lengths: what is kept once (parameters, the bank) is not in it.
    """
    totals = []
    for length in (len(inputs) // 2, len(inputs)):
        storages: dict[int, int] = {}

        def pack(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = run(inputs[:length])
        totals.append(sum(storages.values()))
        loss.backward()
    return (totals[1] - totals[0]) / (len(inputs) - len(inputs) // 2) / 1e6


ROLLOUTS = ((16, 20), (16, 100), (256, 20), (256, 100))
"""Batch and steps: making a rollout counts as part of its steps."""


def rollouts(repeats: int) -> dict[str, list[float]]:
    """Microseconds of CPU time per step without gradients, for each of `ROLLOUTS`."""
    times: dict[str, list[float]] = {}
    for batch, steps in ROLLOUTS:
        inputs, cell, output_layer = torch.randn(batch, INPUTS), nn.LSTMCell(INPUTS, HIDDEN), nn.Linear(HIDDEN, OUTPUTS)

        def plain(
            inputs: Tensor = inputs,
            cell: nn.LSTMCell = cell,
            output_layer: nn.Linear = output_layer,
            batch: int = batch,
            steps: int = steps,
        ) -> None:
            hidden = (torch.zeros(batch, HIDDEN), torch.zeros(batch, HIDDEN))
            for _ in range(steps):
                hidden = cell(inputs, hidden)
                output_layer(hidden[0])

        runs: dict[str, Callable[[], None]] = {"LSTMCell of torch": plain}
        for controller in ("lstm", "feed-forward"):
            ntm = NTM(
                INPUTS, OUTPUTS, num_cells=128, cell_width=WIDTH, controller=controller, hidden_size=HIDDEN,
                gated=False, access="sampled", addressing="head-moves", heads=("read-write",), order="read-write-move",
            )  # fmt: skip

            def hard(
                ntm: NTM = ntm,
                bank: Bank = ntm.bank(batch),  # noqa: B008
                inputs: Tensor = inputs,
                steps: int = steps,
            ) -> None:
                rollout = ntm.rollout(len(inputs), bank=bank)
                for _ in range(steps):
                    rollout.step(inputs)

            runs[f"hard NTM, {controller}"] = hard
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(3 * repeats * STEPS // steps):
            for label, run in runs.items():
                start = time.process_time()
                run()
                best[label] = min(best[label], (time.process_time() - start) * 1e6 / steps)
        for label in runs:
            times.setdefault(label, []).append(best[label])
    return times


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="a checkout of " + PEER)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cells", type=int, nargs="+", default=[*CELLS, 10**6])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    contenders: dict[str, tuple[Callable[[int], Run], int]] = {  # by label: how to build it, and the most cells for it
        "LSTM of torch": (lstm, 128),
        "hard NTM on a bank": (hard, 10**6),
        "hard NTM on a tensor": (lambda num_cells: hard(num_cells, on_bank=False), 8192),
        "soft NTM": (soft, 65536),
    }
    if args.peer is not None:
        sys.path.insert(0, str(args.peer))
        contenders[PEER] = (peer, 65536)
    times: dict[tuple[str, int], float] = {}
    sizes: dict[tuple[str, int], float] = {}
    for num_cells in args.cells:
        runs = {label: build(num_cells) for label, (build, most) in contenders.items() if num_cells <= most}
        inputs = torch.randn(STEPS, BATCH, INPUTS)
        for repeat in range(args.repeats + 1):  # the first is to warm up
            for label, run in runs.items():
                slow = num_cells > 1024 and "hard" not in label
                if slow and repeat > 2:
                    continue
                spent = milliseconds(run, inputs[: 4 if slow else STEPS])
                if repeat:
                    times[label, num_cells] = min(spent, times.get((label, num_cells), spent))
        for label, run in runs.items():
            sizes[label, num_cells] = kept(run, inputs[: 8 if num_cells < 65536 else 4])
        del runs
    for title, numbers in (("ms per step", times), ("MB kept per step", sizes)):
        print(f"\n| {title} | " + " | ".join(f"{n:,}" for n in args.cells) + " |\n|---|" + "---:|" * len(args.cells))
        for label in contenders:
            row = [f"{numbers[label, n]:.3g}" if (label, n) in numbers else "" for n in args.cells]
            print(f"| {label} | " + " | ".join(row) + " |")
    with torch.no_grad():
        times_without = rollouts(args.repeats)
    columns = " | ".join(f"batch {batch}, {steps} steps" for batch, steps in ROLLOUTS)
    print(f"\n| rollout, µs per step | {columns} |\n|---|" + "---:|" * len(ROLLOUTS))
    for label, both in times_without.items():
        print(f"| {label} | " + " | ".join(f"{number:.0f}" for number in both) + " |")


if __name__ == "__main__":
    main()
