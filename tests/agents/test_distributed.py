"""Several processes on one batch: the same steps as one process that plays all their parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hardmem.agents import AgentConfig, RunError, SequenceConfig, resume
from hardmem.agents.checkpoints import load_checkpoint
from hardmem.agents.config import to_json
from hardmem.agents.distributed import World
from hardmem.agents.learner import Stage
from hardmem.agents.training import Training, make_learner

SMALL = {"max_length": 3, "start_length": 3, "num_symbols": 4, "eval_problems": 10, "checkpoint_every": 5}
CONFIGS = {
    "agent": AgentConfig(num_envs=64, baseline="value", max_updates=6, **SMALL),
    "sequence": SequenceConfig(num_problems=4, baseline="moving-average", max_updates=6, **SMALL),
}


def torchrun(folder: Path, *arguments: str) -> str:
    """Two processes of the command, in a folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hardmem"]
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_one_process(config, updates):
    """The same training by hand: both parts of the batch played here, their gradients and averages averaged."""
    worlds = [World(rank, 2) for rank in range(2)]
    learner = make_learner(worlds[0].share(config))
    streams = [world.generators(config.seed, torch.device("cpu")) for world in worlds]
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)
    critic = list(learner.baseline.parameters())
    actor = [parameter for name, parameter in learner.named_parameters() if not name.startswith("baseline.")]
    for update in range(updates):
        gradients, buffers = [], []
        before = [buffer.clone() for buffer in learner.baseline.buffers()]
        for stream in streams:
            for buffer, value in zip(learner.baseline.buffers(), before, strict=True):
                buffer.copy_(value)
            optimizer.zero_grad()
            learner.batch(Stage(config.max_length, update), stream).loss.backward()
            gradients.append([parameter.grad.clone() for parameter in learner.parameters()])
            buffers.append([buffer.clone() for buffer in learner.baseline.buffers()])
        for parameter, one, other in zip(learner.parameters(), *gradients, strict=True):
            parameter.grad = (one + other) / 2
        for buffer, one, other in zip(learner.baseline.buffers(), *buffers, strict=True):
            buffer.copy_((one + other) / 2)
        nn.utils.clip_grad_norm_(actor, config.max_grad_norm)
        nn.utils.clip_grad_norm_(critic, config.max_grad_norm)
        optimizer.step()
    return learner


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_two_processes_take_the_steps_of_one(name, tmp_path):
    """torchrun, bit for bit: weights, averages, counts of the whole batch; resumed half-way by as many, not by one."""
    config = CONFIGS[name]
    (tmp_path / "config.toml").write_text(
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in json.loads(to_json(config)).items())
    )
    if name == "agent":  # in two halves
        torchrun(tmp_path, "train", "--config", "config.toml", "--name", "two", "--max-updates", "3")
        out = torchrun(tmp_path, "resume", "runs/two", "--max-updates", "6")
    else:
        out = torchrun(tmp_path, "train", "--config", "config.toml", "--name", "two")
    assert out.count("not solved within 6 updates") == 1  # one process speaks
    run = tmp_path / "runs" / "two"
    state = load_checkpoint(run)
    for key, value in in_one_process(config, 6).state_dict().items():
        assert torch.equal(state["learner"][key], value), key
    rollouts = config.num_envs if name == "agent" else config.num_problems * config.group_size
    assert state["progress"]["rollouts"] == 6 * rollouts
    assert state["progress"]["problems"] == 6 * rollouts // config.group_size
    with pytest.raises(RunError, match="it is of 2 processes, and these are 1"):
        resume(run)


def test_processes_draw_apart_and_validate_alike():
    """Problems and choices differ by rank; the first of two draws what a process alone does."""
    alone, first, second = (world.generators(3, torch.device("cpu")) for world in (World(), World(0, 2), World(1, 2)))
    for stream in ("problems", "choices", "validation", "test"):
        states = [getattr(streams, stream).get_state() for streams in (alone, first, second)]
        assert torch.equal(states[0], states[1])
        assert torch.equal(states[1], states[2]) == (stream in ("validation", "test"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AgentConfig(num_envs=24), r"num_envs must be a multiple of 16, 2 processes times group_size=8, got 24"),
        (SequenceConfig(num_problems=3), r"num_problems must be a multiple of 2 processes, got 3"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(config, message):
    """Before anything is trained."""
    with pytest.raises(ValueError, match=message):
        Training(config, World(0, 2))
