"""Controllers: shapes, starts and independence for each of the registry."""

import pytest
import torch

from hardmem.models import CONTROLLERS, make_controller
from hardmem.models.controllers import SLOWNESS, FeedForward


def build(name: str):
    """A controller of 3 inputs and width 5, and inputs for a batch of 4."""
    torch.manual_seed(0)
    return make_controller(name, 3, 5), torch.randn(4, 3)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_one_step(name):
    """Features (B, D) and a hidden state like the one before, which starts from zeros."""
    controller, inputs = build(name)
    hidden = controller.initial_hidden(4, device=inputs.device, dtype=inputs.dtype)
    features, after = controller(inputs, hidden)
    assert features.shape == (4, controller.hidden_size) == (4, 5)
    assert [part.shape for part in after] == [part.shape for part in hidden]
    assert all(not part.any() for part in hidden)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_only_hidden_state_remembers(name):
    """With a hidden state the same input gives other features the second time; without one it gives the same."""
    controller, inputs = build(name)
    hidden = controller.initial_hidden(4, device=inputs.device, dtype=inputs.dtype)
    first, after = controller(inputs, hidden)
    second, _ = controller(inputs, after)
    assert torch.equal(first, second) == (len(hidden) == 0)
    torch.testing.assert_close(controller(inputs, hidden)[0], first, rtol=0, atol=0)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_batch_equals_batches_of_one(name):
    """Features and hidden state of a sequence do not depend on its neighbours."""
    controller, inputs = build(name)
    hidden = controller.initial_hidden(4, device=inputs.device, dtype=inputs.dtype)
    _, hidden = controller(inputs, hidden)
    features, after = controller(-inputs, hidden)
    for b in range(4):
        one = slice(b, b + 1)
        alone, hidden_alone = controller(-inputs[one], tuple(part[one] for part in hidden))
        torch.testing.assert_close(features[one], alone)
        for part, part_alone in zip(after, hidden_alone, strict=True):
            torch.testing.assert_close(part[one], part_alone)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_parameter_learns(name):
    """After two steps the gradient reaches all parameters."""
    controller, inputs = build(name)
    hidden = controller.initial_hidden(4, device=inputs.device, dtype=inputs.dtype)
    _, hidden = controller(inputs, hidden)
    controller(inputs, hidden)[0].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in controller.parameters())


@pytest.mark.parametrize("name", CONTROLLERS)
def test_hidden_state_has_the_device_and_dtype_asked_for(name):
    """As the model's own parameters."""
    controller, _ = build(name)
    for part in controller.initial_hidden(2, device=torch.device("meta"), dtype=torch.float64):
        assert (part.device.type, part.dtype, part.shape) == ("meta", torch.float64, (2, 5))


@pytest.mark.parametrize(("name", "network"), [("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)])
def test_steps_equal_torch_over_a_sequence(name, network):
    """With the same parameters, step by step, as torch runs the whole sequence from zeros."""
    controller, _ = build(name)
    whole = network(3, 5)
    whole.load_state_dict({f"{key}_l0": value for key, value in controller.cell.state_dict().items()})
    inputs = torch.randn(6, 4, 3)
    hidden, steps = controller.initial_hidden(4, device=inputs.device, dtype=inputs.dtype), []
    for step_inputs in inputs:
        features, hidden = controller(step_inputs, hidden)
        steps.append(features)
    torch.testing.assert_close(torch.stack(steps), whole(inputs)[0])


def test_unknown_controller_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown controller 'rnn'; choose one of \['feed-forward', 'gru', 'lstm'"):
        make_controller("rnn", 1, 1)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_gated_is_the_sum_of_a_layer_and_what_the_gate_lets_through(name):
    """tanh(layer) at the start; with the gate at 0.5, half of the recurrent network's features on top."""
    torch.manual_seed(0)
    gated, inputs = make_controller(name, 3, 5, gated=True), torch.randn(4, 3)
    hidden = gated.initial_hidden(4, device=inputs.device, dtype=inputs.dtype)
    plain = gated.layer(inputs).tanh()
    torch.testing.assert_close(gated(inputs, hidden)[0], plain, rtol=0, atol=0)
    with torch.no_grad():
        gated.gate.fill_(0.5 / SLOWNESS)
    features, after = gated(inputs, hidden)
    recurrent, expected = gated.recurrent(inputs, hidden)
    torch.testing.assert_close(features, plain + 0.5 * recurrent)
    assert all(torch.equal(part, other) for part, other in zip(after, expected, strict=True))


def test_a_controller_without_recurrence_needs_no_gate():
    """Gated or not, feed-forward is one layer."""
    assert isinstance(make_controller("feed-forward", 3, 5, gated=True), FeedForward)
