"""A sequence as one operation against the separate operations it stands for: numbers, gradients, and what it leaves."""

import gc
import weakref

import pytest
import torch

from hardmem.models import CONTROLLERS, NTM, Controller
from hardmem.models.controllers import FeedForward, Gated
from hardmem.models.ntm import ORDERS

T, B, N, W = 4, 3, 5, 3
LAYOUTS = [("read", "write"), ("write", "read", "read-write", "write")]
MACHINES = [{"access": "soft", "order": "move-write-read"}] + [
    {"access": access, "order": order, "addressing": addressing}
    for access, addressing in (("sampled", "head-moves"), ("argmax", "absolute"))
    for order in ORDERS
]


def named(options: dict[str, str]) -> str:
    return "-".join(options.values())


def build(**options) -> NTM:
    """A small machine whose gates stand open and whose start is learned, so that gradients go back to all of it."""
    torch.manual_seed(0)
    sizes = {"num_cells": N, "cell_width": W, "hidden_size": 4, "memory_init": "learned", "learned_start": True}
    ntm = NTM(2, 3, **sizes | options).double()
    with torch.no_grad():
        for name, parameter in ntm.named_parameters():
            parameter.mul_(1.5)
            if "gate" in name.rpartition(".")[-1]:
                parameter.fill_(0.7)
    return ntm


def sequence(seed: int = 1, steps: int = T) -> torch.Tensor:
    return torch.randn(steps, B, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def played(ntm: NTM, inputs: torch.Tensor) -> list[torch.Tensor]:
    """All that comes out of two sequences, the second from where the first ended."""
    draw, found, state = torch.Generator().manual_seed(2), [], None
    for part in (inputs[:3], inputs[3:]):
        outputs, state, record = ntm.trace(part, state, draw)
        found += [outputs, *([] if record is None else record)]
    return [*found, state.memory, state.address[0], state.read, *state.hidden]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("heads", LAYOUTS)
@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("options", MACHINES, ids=named)
def test_equals_the_separate_operations(options, controller, heads, gated):
    """Outputs, choices, their log-probabilities and entropies, the state; the gradients of inputs and parameters."""
    ntm, results = build(**options, controller=controller, heads=heads, gated=gated), []
    for fused in (True, False):
        ntm.fused, inputs = fused, sequence().requires_grad_()
        found = played(ntm, inputs)
        loss = sum(
            (part * torch.rand(part.shape, generator=torch.Generator().manual_seed(place), dtype=part.dtype)).sum()
            for place, part in enumerate(found)
            if part.is_floating_point()
        )
        slopes = torch.autograd.grad(loss, [inputs, *ntm.parameters()], allow_unused=True, materialize_grads=True)
        results.append((found, slopes))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-8, atol=1e-11)
    with torch.no_grad():
        ntm.fused = True
        torch.testing.assert_close(played(ntm, sequence()), results[1][0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("access", ["soft", "argmax"])
def test_gradcheck(access, controller):
    """Against finite differences; where cells are chosen, with the choices as they are."""
    options = {} if access == "soft" else {"addressing": "head-moves"}
    ntm = build(access=access, controller=controller, gated=True, **options)

    def run(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, state, record = ntm.trace(inputs)
        return (outputs, state.memory, *([] if record is None else record[1:]))

    assert torch.autograd.gradcheck(run, sequence(steps=3).requires_grad_())


@pytest.mark.parametrize("options", MACHINES, ids=named)
def test_a_graph_can_be_used_twice_and_then_goes(options):
    """The same gradient again; and no part of the graph keeps another alive."""
    ntm = build(**options, controller="lstm")
    outputs, state, _ = ntm.trace(sequence(), generator=torch.Generator().manual_seed(0))
    loss = outputs.square().sum()
    first, second = (torch.autograd.grad(loss, ntm.write_layer.weight, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    memory = weakref.ref(state.memory)
    gc.disable()
    try:
        del outputs, state, loss
        assert memory() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("options", MACHINES, ids=named)
def test_no_second_derivatives(options):
    """An error, and a way out."""
    ntm = build(**options)
    for fused in (True, False):
        ntm.fused = fused
        loss = ntm(sequence())[0].square().sum()
        if fused:
            with pytest.raises(RuntimeError, match=r"no second derivatives.*set fused = False"):
                torch.autograd.grad(loss, ntm.write_layer.weight, create_graph=True)
        else:
            torch.autograd.grad(loss, ntm.write_layer.weight, create_graph=True)[0].square().sum().backward()


def test_controllers_it_does_not_know_go_step_by_step():
    """A class of one's own, even a child of ours, and a gate before something that is not recurrent."""

    class Doubled(FeedForward):
        def forward(self, inputs, hidden):
            features, hidden = super().forward(inputs, hidden)
            return 2 * features, hidden

    for controller in (Doubled(2 + W, 4), Gated(2 + W, FeedForward(2 + W, 4))):
        assert isinstance(controller, Controller)
        torch.manual_seed(0)
        ntm = NTM(2, 3, num_cells=N, cell_width=W, controller=controller).double()
        expected, state = [], ntm.initial_state(B)
        for inputs in sequence():
            output, state, _ = ntm.step(inputs, state)
            expected.append(output)
        torch.testing.assert_close(ntm(sequence())[0], torch.stack(expected), rtol=0, atol=0)
