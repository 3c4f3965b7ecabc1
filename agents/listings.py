"""What there is: environments, estimators and models, a line each."""

from __future__ import annotations

import inspect
import re
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
from hardmem.tasks import TASKS


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
    """Every estimator and baseline: how it is had, whether it is unbiased, what it needs, where it comes from."""
    title = "docs/estimators.md has the proofs and the measured variance"
    table = _one_line_each(title, "name", "of hardmem train", "unbiased", "needs", "source")
    family = ""
    for name, record in ESTIMATORS.items():
        if record.family != family:
            table.add_section()
            family = record.family
        how = next((flag for flag, names in FLAGS.items() if name in names), f"no: {record.family}")
        table.add_row(name, how, _yes(record.unbiased), record.needs, record.source)
    table.caption = (
        "--estimator takes several, joined with +. The others are for a loop of your own: for one choice whose cost "
        "can be evaluated again, or for trajectories drawn without replacement."
    )
    return table


FLAGS: dict[str, Mapping[str, object]] = {"--estimator": ESTIMATES, "--baseline": BASELINES, "--access": ACCESS}
"""The flags of a training that take names of the catalogue."""


def models() -> Table:
    """Every task, and every part a sequence model or a policy is built from, with the flag that chooses it."""
    table = _one_line_each("hardmem train sequence", "flag", "name", "what it is")
    parts: dict[str, Mapping[str, object]] = {
        "--task": TASKS,
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
    line = (inspect.getdoc(part) or "").splitlines()[0]
    return re.sub(r": `hardmem[^`]*`", "", line)  # a reference for those who read the code


def _yes(claim: bool) -> str:
    return "yes" if claim else "no"
