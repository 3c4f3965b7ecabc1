"""Configurations: what is refused, and that a file gives back what was written."""

from __future__ import annotations

import dataclasses

import pytest

from hardmem.agents import AgentConfig, SequenceConfig
from hardmem.agents.config import from_json, resolve_device, to_json


@pytest.mark.parametrize("config", [AgentConfig(seed=3, policy="gru"), SequenceConfig(heads=("read", "write"))])
def test_json_gives_back_the_same_configuration(config):
    """Kind, tuples and all."""
    assert from_json(to_json(config)) == config


def test_a_configuration_of_before_is_read():
    """A field that says nothing any more is passed over."""
    text = to_json(AgentConfig(seed=3)).replace('"seed": 3', '"seed": 3, "barred_share": 0.125')
    assert from_json(text) == AgentConfig(seed=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "robot"}', "of a kind among .*, got 'robot'"),
        (
            '{"kind": "agent", "pollicy": "gru"}',
            r"unknown fields of an agent configuration: \['pollicy'\]; did you mean 'policy'",
        ),
        ("{", "Expecting"),
    ],
)
def test_a_foreign_file_is_refused(text, message):
    """With what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_updates", 0, "max_updates must be at least 1, got 0"),
        ("group_size", -1, "group_size must be at least 1, got -1"),
        ("learning_rate", 0.0, "learning_rate must be positive, got 0.0"),
        ("num_envs", 100, "num_envs must be a multiple of group_size=8, got 100"),
        ("learning_rate_final", 0.0, "learning_rate_final must be positive, got 0.0"),
        ("learning_rate_updates", -1, "learning_rate_updates must be at least 0, got -1"),
        ("finish_updates", -1, "finish_updates must be at least 0, got -1"),
        ("min_length", 11, "min_length must not exceed max_length, got 11 and 10"),
    ],
)
def test_bad_numbers_are_named(field, value, message):
    """At construction, before anything runs."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(AgentConfig(), **{field: value})


def test_devices_are_resolved():
    """A name that is no device, or one that is not there, is one sentence."""
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    for name in ("tpuu", "cuda:77"):
        with pytest.raises(ValueError, match=f"no device '{name}' here; choose auto, cpu or a CUDA device"):
            resolve_device(name)
