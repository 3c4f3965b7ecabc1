"""Compare: several methods on one task, several seeds each, in one process per core; one table and two pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.plans import Job, OnReport, Plan, begin, carry_out, check_pool

LENGTHS = (10, 20, 100, 1000)

HARD_NTM = SequenceConfig(max_updates=800)
SOFT_TWIN = dataclasses.replace(HARD_NTM, access="soft")

METHODS: dict[str, dict[str, TrainConfig]] = {
    "copy": {
        "REINFORCE agent": AgentConfig(start_length=3, max_updates=600),
        "hard NTM": HARD_NTM,
        "soft twin": SOFT_TWIN,
        "paper NTM": dataclasses.replace(
            SOFT_TWIN,
            addressing="content-location",
            heads=("read", "write"),
            order="move-write-read",
            bypass=True,
            gated=False,
            controller="lstm",
            hidden_size=100,
            start_length=10,
            learning_rate=3e-3,
            restart_after=0,
            max_updates=700,
            finish_updates=50,
        ),
        "LSTM": dataclasses.replace(
            SOFT_TWIN, model="lstm", hidden_size=100, start_length=10, max_updates=1500, restart_after=0
        ),
    },
}
"""By task: what is compared, each with its budget of updates. The soft twin differs from the hard NTM in its access."""


def plan_of(
    task: str,
    folder: Path,
    *,
    seeds: int = 5,
    problems: int = 500,
    lengths: tuple[int, ...] = LENGTHS,
    device: str = "auto",
) -> Plan:
    """All trainings of a comparison, a method at a time.

    Raises:
        ValueError: if there is no comparison for that task, a number is out of range, or no such device.
    """
    if task not in METHODS:
        raise ValueError(f"unknown comparison {task!r}; choose one of {sorted(METHODS)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    resolve_device(device)
    jobs = [
        Job(method, dataclasses.replace(config, seed=seed, device=device), folder / f"{slug(method)}-seed{seed}")
        for method, config in METHODS[task].items()
        for seed in range(seeds)
    ]
    return Plan(task, tuple(jobs), lengths, problems)


def slug(method: str) -> str:
    """A method's name as a folder's: "hard NTM" -> "hard-ntm"."""
    return method.lower().replace(" ", "-")


def compare(
    task: str,
    folder: Path,
    *,
    seeds: int = 5,
    problems: int = 500,
    lengths: tuple[int, ...] = LENGTHS,
    device: str = "auto",
    workers: int | None = None,
    on_report: OnReport | None = None,
) -> dict[str, Any]:
    """Train every method of a task with every seed, examine all, and write results.json and .csv into a new folder.

    Args:
        task: a name from `METHODS`.
        folder: where; it must not exist yet. Each training has a run folder of its own inside.
        seeds: trainings per method, seeds 0 to seeds - 1.
        problems: fresh problems per length in the examination.
        lengths: problem lengths of the examination.
        device: as `TrainConfig.device`.
        workers: processes at a time; by default one per core, and one on a GPU.
        on_report: called with a job and its progress, and with None when the job is done.

    Returns:
        As `hardmem.agents.plans.carry_out`, which also goes on with a comparison that was stopped.

    Raises:
        ValueError: if the task is unknown or a number out of range.
        RunError: if the folder exists or cannot be made.
    """
    check_pool(workers, "pool")
    begin(folder, plan_of(task, folder, seeds=seeds, problems=problems, lengths=lengths, device=device))
    return carry_out(folder, workers=workers, on_report=on_report)
