"""Commands that say what there is: envs, estimators, models, doctor."""

from __future__ import annotations

import sys

from rich.console import Console

from hardmem.agents.config import resolve_device
from hardmem.agents.doctor import devices, self_test, versions
from hardmem.agents.listings import environments, estimators, models
from hardmem.agents.terminal import wide


def envs_command() -> None:
    """List the environments: id, observation and action; docs/environments.md says what each is."""
    Console().print(environments())


def estimators_command() -> None:
    """List the gradient estimators and baselines: what each needs, whether it is unbiased, its source."""
    wide().print(estimators())


def models_command() -> None:
    """List tasks, and what sequence models and policies are built from: models, accesses, addressing, controllers."""
    wide().print(models())


def doctor_command(device: str = "auto") -> None:
    """Say what is installed and what there is to compute on, and try the main paths: some ten seconds.

    Args:
        device: where to try them: "auto" (CUDA where there is one), "cpu", "cuda".
    """
    console = Console(highlight=False)
    resolve_device(device)
    for title, found in (("versions", versions()), ("devices", devices())):
        console.print(f"{title}:")
        for name, detail in found.items():
            console.print(f"  {name:<12} {detail}", markup=False)
    console.print("self-test:")
    fine = True
    for finding in self_test(device):
        mark = "ok    " if finding.fine else "FAILED"
        console.print(f"  {mark} {finding.name}: {finding.detail} ({finding.seconds:.1f} s)", markup=False)
        fine = fine and finding.fine
    if not fine:
        sys.exit(1)
