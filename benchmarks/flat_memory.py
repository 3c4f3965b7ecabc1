"""Memory of a long training: resident size while it makes ten thousand updates, with everything recorded.

    python benchmarks/flat_memory.py --updates 10000

Prints one line of JSON: MiB after every tenth of the updates, and the growth from the second tenth (by then everything
that is imported or allocated once is there) to the last. Linux only: sizes are read from /proc.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
from pathlib import Path

import torch

from hardmem.agents import AgentConfig, Progress, train

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> float:
    """MiB of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = AgentConfig(
        max_length=3, start_length=3, num_envs=32, eval_problems=20, promote_at=2, learning_rate=1e-6,
        max_updates=options.updates, finish_updates=options.updates,
    )  # fmt: skip
    sizes: list[float] = []

    def measure(progress: Progress) -> None:
        if progress.update % (options.updates // 10) == 0:
            sizes.append(round(resident(), 1))

    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run", measure)
    print(json.dumps({"updates": options.updates, "MiB": sizes, "growth": round(sizes[-1] - sizes[1], 1)}))


if __name__ == "__main__":
    main()
