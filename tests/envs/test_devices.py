"""A step of every environment stays on one device and never makes the host wait for it."""

from __future__ import annotations

import pytest
import torch

from hardmem.envs import ENVIRONMENTS, make_dynamics
from tests import device_guard

CASES = [(env_id, {}) for env_id in sorted(ENVIRONMENTS)]
CASES += [
    ("hardmem/FactRecallAssociative-v0", {"self_paced": True, "num_heads": 2, "write": "symbol"}),
    ("hardmem/SlotRecall-v0", {"emit": "read", "observable": True}),
    ("hardmem/CopyRandomAccess-v0", {"num_heads": 2, "wiped": True}),
]


@pytest.mark.parametrize(("env_id", "arguments"), CASES, ids=str)
def test_one_device(env_id, arguments):
    """Everything that a step makes is on the device of the state, where nothing can be read."""
    with device_guard.fake_device() as device:
        dynamics = make_dynamics(**ENVIRONMENTS[env_id], **arguments, device=device)
        state, observation = dynamics.start(dynamics.task.draw(4, device=device))
        action = torch.zeros(4, len(dynamics.num_actions), dtype=torch.int64, device=device)
        state, step = dynamics.step(state, action)
        results = [observation, *step, state.clock, state.head, state.earned, *dynamics.legal(state)]
        assert {tensor.device for tensor in results} == {torch.device(device)}


@pytest.mark.parametrize(("env_id", "arguments"), CASES, ids=str)
def test_no_waiting(env_id, arguments):
    """Steps, masks and fresh episodes in given places: nothing is read on the host, no shape hangs on a number."""
    dynamics = make_dynamics(**ENVIRONMENTS[env_id], **arguments)
    state, _ = dynamics.reset(4, torch.Generator().manual_seed(0))
    fresh = dynamics.script(dynamics.task.draw(2, generator=torch.Generator().manual_seed(1)))
    which = torch.tensor([0, 3])
    random = torch.Generator().manual_seed(2)
    actions = [
        torch.stack([torch.randint(n, (4,), generator=random) for n in dynamics.num_actions], 1) for _ in range(6)
    ]
    with device_guard.no_host_reads():
        for number, action in enumerate(actions):
            state, _ = dynamics.step(state, action)
            dynamics.legal(state)
            if number == 3:
                state = dynamics.replace(state, which, fresh)
