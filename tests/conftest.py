"""What holds for all tests: one thread, and GPU tests where there is a GPU."""

import signal
from collections.abc import Iterator

import pytest
import torch


def pytest_configure() -> None:
    """One thread: the tensors here are too small to gain from more, and other work shares the cores."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none, and say so."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device: PyTorch sees none here"))


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGINT is heard, here and by what is started, also where tests run in the background and a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
