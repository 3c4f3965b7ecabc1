"""Compare: several methods on some tasks, several seeds each, in one process per core; tables and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.methods import on_task, read_methods, slug
from hardmem.agents.plans import Job, OnReport, Plan, begin, carry_out, check_pool
from hardmem.agents.training import make_learner

__all__ = ["LENGTHS", "METHODS", "compare", "plan_of", "slug"]

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
            controller="lstm",
            hidden_size=100,
            num_cells=128,
            start_length=10,
            curriculum="one-length",
            learning_rate=3e-3,
            learning_rate_updates=700,  # a step size that does not fall loses again what it has learned
            max_updates=1000,
            finish_updates=700,
        ),
        "LSTM": dataclasses.replace(
            SOFT_TWIN, model="lstm", hidden_size=100, start_length=10, max_updates=1500, restart_after=0
        ),
    },
}
"""What is compared by default, each with its budget of updates, tuned on Copy and taken as it is to any other task
that has no line here. The soft twin differs from the hard NTM in its access."""


def plan_of(
    tasks: str | Sequence[str],
    folder: Path,
    *,
    methods: Sequence[str] | Mapping[str, TrainConfig] | None = None,
    seeds: int = 5,
    problems: int = 500,
    lengths: Sequence[int] | None = None,
    device: str = "auto",
) -> Plan:
    """All trainings of a comparison, a method at a time. Arguments as in `compare`.

    Raises:
        ValueError: if a task or method is unknown or they do not go together, a number is out of range, or there is no
            such device.
    """
    tasks = [tasks] if isinstance(tasks, str) else list(tasks)
    if seeds < 1 or not tasks:
        raise ValueError(f"seeds must be at least 1, got {seeds}, and tasks one or more, got {tasks}")
    if len(set(tasks)) < len(tasks):
        raise ValueError(f"expected every task once, got {tasks}")
    resolve_device(device)
    if methods is not None and not isinstance(methods, Mapping):
        methods = read_methods(methods, METHODS["copy"])
    jobs = []
    for task in tasks:
        chosen = METHODS.get(task, METHODS["copy"]) if methods is None else methods
        for method, config in chosen.items():
            there = dataclasses.replace(on_task(config, task), device=device)
            make_learner(there)  # what does not fit is said before anything is trained
            stem = slug(method) if len(tasks) == 1 else f"{slug(task)}-{slug(method)}"
            for seed in range(seeds):
                jobs.append(Job(method, dataclasses.replace(there, seed=seed), folder / f"{stem}-seed{seed}", task))
    if lengths is None:
        longest = max(job.config.max_length for job in jobs)
        lengths = LENGTHS if tasks == ["copy"] and methods is None else (longest, 2 * longest)
    return Plan(", ".join(tasks), tuple(jobs), tuple(lengths), problems)


def compare(
    tasks: str | Sequence[str],
    folder: Path,
    *,
    methods: Sequence[str] | Mapping[str, TrainConfig] | None = None,
    seeds: int = 5,
    problems: int = 500,
    lengths: Sequence[int] | None = None,
    device: str = "auto",
    workers: int | None = None,
    on_report: OnReport | None = None,
) -> dict[str, Any]:
    """Train every method on every task with every seed, examine all, and write results.json and .csv into a new folder.

    Args:
        tasks: one or more, each a name from `TASKS` or an environment's id.
        folder: where; it must not exist yet. Each training has a run folder of its own inside.
        methods: configurations by title, or texts as `read_methods` understands them; by default those of `METHODS`.
        seeds: trainings per method and task, seeds 0 to seeds - 1.
        problems: fresh problems per length in the examination.
        lengths: problem lengths of the examination; by default the longest trained on and twice that, for Copy as in
            `LENGTHS`.
        device: as `TrainConfig.device`.
        workers: processes at a time; by default one per core, and one on a GPU.
        on_report: called with a job and its progress, and with None when the job is done.

    Returns:
        As `hardmem.agents.plans.carry_out`, which also goes on with a comparison that was stopped.

    Raises:
        ValueError: as `plan_of`.
        RunError: if the folder exists or cannot be made.
    """
    check_pool(workers, "pool")
    plan = plan_of(tasks, folder, methods=methods, seeds=seeds, problems=problems, lengths=lengths, device=device)
    begin(folder, plan)
    return carry_out(folder, workers=workers, on_report=on_report)
