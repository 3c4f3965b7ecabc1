"""Presets: every environment and task has one that trains; flags, files and Python start from the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hardmem.agents import AgentConfig, SequenceConfig, load, preset_of
from hardmem.agents.cli import main
from hardmem.agents.methods import on_task
from hardmem.agents.presets import PRESETS
from hardmem.agents.training import Training, make_learner
from hardmem.envs import ENVIRONMENTS
from hardmem.tasks import TASKS

FEW = {"num_envs": 64, "eval_problems": 4, "max_updates": 1}


def test_presets_are_of_what_there_is():
    """No line is left behind by a name that went away, and every field is one of its kind of training."""
    assert set(PRESETS) <= {*ENVIRONMENTS, *TASKS}
    for name, fields in PRESETS.items():
        kind = SequenceConfig if name in TASKS else AgentConfig
        assert set(fields) <= {field.name for field in dataclasses.fields(kind)}, name


@pytest.mark.parametrize("name", [*ENVIRONMENTS, *TASKS])
def test_every_preset_trains(name):
    """One update and a validation: the policy or model has changed, and problems are of the preset's lengths."""
    few = {"eval_problems": 4, "max_updates": 1} if name in TASKS else FEW
    training = Training(preset_of(name, **few))
    before = [parameter.clone() for parameter in training.actor]
    point = training.update()
    assert point is not None
    assert 0 <= point.metrics["accuracy"] <= 1
    assert any((new != old).any() for new, old in zip(training.actor, before, strict=True))


def test_a_difficulty_brings_its_lengths():
    """Those of the task, whatever the preset's own are; what is said beside it wins."""
    config = preset_of("hardmem/Copy-v0", preset="longer")
    assert (config.preset, config.min_length, config.max_length, config.num_symbols) == ("longer", 20, 20, 8)
    assert preset_of("fact-recall", preset="default").max_length == 5
    assert preset_of("copy", preset="longest", max_length=30, min_length=1).max_length == 30
    assert preset_of("hardmem/FactRecall-v0", max_length=5).preset == "default"  # the easiest has keys for one fact
    assert preset_of("hardmem/FactRecall-v0", max_length=1).preset == "easiest"
    with pytest.raises(ValueError, match=r"unknown preset 'hard' of copy; choose one of \['easiest', 'default'"):
        preset_of("copy", preset="hard")


def test_methods_are_compared_at_the_sizes_of_the_task():
    """The same for all, whatever kind; the memory stays the method's own, and what a method says wins."""
    hard = on_task(SequenceConfig(max_updates=7), "associative-recall")
    assert hard == SequenceConfig(
        max_updates=7, task="associative-recall", preset="easiest", num_symbols=8, min_length=1, max_length=1
    )
    agent = on_task(AgentConfig(), "associative-recall")
    assert (agent.preset, agent.num_symbols, agent.max_length) == ("easiest", 8, 1)
    longer = on_task(AgentConfig(max_length=4), "hardmem/AssociativeRecall-v0")
    assert (longer.preset, longer.num_symbols, longer.max_length) == ("default", 8, 4)
    assert on_task(SequenceConfig(), "copy") == SequenceConfig()
    for task in TASKS:
        make_learner(on_task(SequenceConfig(), task))


def test_the_command_a_file_and_python_start_alike(tmp_path, monkeypatch, capsys):
    """Named by a flag, in a file or in Python it is the same configuration; flags win, and it is said."""
    monkeypatch.chdir(tmp_path)
    expected = preset_of("hardmem/Reverse-v0", num_envs=64, eval_problems=4, max_updates=1)
    few = ["--num-envs", "64", "--eval-problems", "4", "--max-updates", "1"]
    main(["train", "agent", "--env", "hardmem/Reverse-v0", *few])
    assert load("runs/train-1")[1] == expected
    assert capsys.readouterr().out.startswith("preset of hardmem/Reverse-v0: preset=easiest, max_length=3\n")
    few_symbols = ["--num-symbols", "8", "--max-updates", "1", "--eval-problems", "4"]
    main(["train", "sequence", "--max-length", "2", *few_symbols, "--name", "copy"])
    assert "preset of" not in capsys.readouterr().out  # it was said, not preset
    fields = 'env = "hardmem/Reverse-v0"\nnum_envs = 64\neval_problems = 4\nmax_updates = 1\n'
    Path("mine.toml").write_text('kind = "agent"\n' + fields)
    main(["train", "--config", "mine.toml", "--quiet"])
    assert load("runs/train-2")[1] == expected
    main(["train", "agent", "--env", "hardmem/Reverse-v0", "--preset", "longer", "--max-length", "25", *few, "--quiet"])
    assert load("runs/train-3")[1] == preset_of("hardmem/Reverse-v0", preset="longer", max_length=25, **FEW)
    with pytest.raises(SystemExit):
        main(["train", "sequence", "--task", "copy", "--preset", "hard"])
    assert "hardmem: unknown preset 'hard' of copy; choose one of" in capsys.readouterr().err
