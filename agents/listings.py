"""What there is: environments, estimators and models, a line each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import gymnasium as gym
from rich import box
from rich.table import Table

from hardmem.access import ACCESS
from hardmem.agents.estimates import ESTIMATES
from hardmem.baselines import BASELINES
from hardmem.envs import ENVIRONMENTS, TaskEnv
from hardmem.estimators import ESTIMATORS
from hardmem.models import CONTROLLERS, NTM
from hardmem.models.recurrent import KINDS
from hardmem.schemes import SCHEMES


def environments() -> Table:
    """Every environment: id, observation, action."""
    table = Table(
        title='gym.make("hardmem.envs:<id>")',
        caption='The same ids ending in "Flat-v0" take one number for the whole action.',
    )
    for heading in ("id", "observation", "MultiDiscrete action"):
        table.add_column(heading, no_wrap=heading == "id")
    for env_id in ENVIRONMENTS:
        env = gym.make(env_id).unwrapped
        assert isinstance(env, TaskEnv)
        table.add_row(env_id, f"Box{env.observation_space.shape}", " × ".join(map(str, env.dynamics.num_actions)))
    return table


def estimators() -> Table:
    """Every estimator and baseline: what it needs, whether it is unbiased, where it comes from."""
    title = "docs/estimators.md has the proofs and the measured variance"
    table = _one_line_each(title, "name", "family", "needs", "unbiased", "source")
    for name, record in ESTIMATORS.items():
        flag = " *" if name in BASELINES else " +" if name in ESTIMATES else ""
        table.add_row(name, record.family + flag, record.needs, _yes(record.unbiased), record.source)
    table.caption = "* a name for --baseline, + for --estimator (several joined with +) of `hardmem train`"
    return table


def models() -> Table:
    """Every part a sequence model or a policy is built from, with the flag that chooses it."""
    table = _one_line_each("hardmem train sequence", "flag", "name", "what it is")
    parts: dict[str, Mapping[str, object]] = {
        "--model": {"ntm": NTM, **KINDS},
        "--access": ACCESS,
        "--addressing": SCHEMES,
        "--controller": CONTROLLERS,
    }
    for flag, choices in parts.items():
        for name, part in choices.items():
            table.add_row(flag, name, _first_line(part))
        table.add_section()
    table.caption = "an agent's --policy is a controller, or ntm: a hard one, with cells of its own"
    return table


def _one_line_each(title: str, *headings: str) -> Table:
    """A table whose last column is cut where the line ends."""
    table = Table(title=title, box=box.SIMPLE_HEAD, expand=True)
    for heading in headings:
        table.add_column(heading, no_wrap=True, ratio=1 if heading == headings[-1] else None)
    return table


def _first_line(part: object) -> str:
    if part in KINDS.values():
        return "one recurrent layer and a linear output, no cells: the floor"
    return (inspect.getdoc(part) or "").splitlines()[0]


def _yes(claim: bool) -> str:
    return "yes" if claim else "no"
