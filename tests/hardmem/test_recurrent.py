"""The networks without cells: called as the machine is, and nothing but torch's own inside."""

import pytest
import torch

from hardmem.models import Recurrent
from hardmem.models.recurrent import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_is_the_network_and_a_linear_layer(kind):
    """Time-first, (T, B, I) -> (T, B, O), and a sequence in two halves equals the whole."""
    torch.manual_seed(0)
    model, inputs = Recurrent(3, 2, kind=kind, hidden_size=4), torch.randn(5, 6, 3)
    outputs, _ = model(inputs)
    torch.testing.assert_close(outputs, model.output_layer(model.network(inputs)[0]))
    assert outputs.shape == (5, 6, 2)
    first, state = model(inputs[:2])
    second, _ = model(inputs[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_and_batches_of_one(kind):
    """Swapping time and batch swaps the outputs; a sequence runs the same alone."""
    torch.manual_seed(0)
    model, inputs = Recurrent(3, 2, kind=kind, hidden_size=4), torch.randn(5, 6, 3)
    swapped = Recurrent(3, 2, kind=kind, hidden_size=4, batch_first=True)
    swapped.load_state_dict(model.state_dict())
    outputs, _ = model(inputs)
    torch.testing.assert_close(swapped(inputs.transpose(0, 1))[0], outputs.transpose(0, 1))
    for b in range(6):
        torch.testing.assert_close(model(inputs[:, b : b + 1])[0], outputs[:, b : b + 1])


def test_unknown_kind_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown kind of recurrent network 'rnn'; choose one of \['gru', 'lstm'\]"):
        Recurrent(1, 1, kind="rnn")
