"""The Neural Turing Machine, soft or hard: the same class, and one argument between the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardmem.access import HARD, AccessRecord, make_access
from hardmem.bank import Bank, Contents, Memory
from hardmem.fused import Layout, move_write_read
from hardmem.memory import Address, HardAddress, SoftAddress, as_weights, read, select_heads, write
from hardmem.models.controllers import Controller, Hidden, make_controller
from hardmem.models.hard_heads import HardHeads, HostHeads
from hardmem.models.recurrences import has_recurrence, sums
from hardmem.models.rollout import Rollout
from hardmem.models.unrolled import Heads, SoftHeads, unroll
from hardmem.precision import as_given, is_autocast
from hardmem.schemes import ContentLocation, make_scheme

HEADS = ("read", "write", "read-write")
ORDERS = ("read-write-move", "move-write-read")
MEMORY_INITS = ("random", "learned")


class NTMState(NamedTuple):
    """What the machine carries from one step to the next.

    Attributes:
        memory: cell contents, (B, N, W), or the contents of a bank.
        address: where each head is.
        read: what the reading heads read last, (B, R * W).
        hidden: the controller's own state.
        past: what the addressing remembers beside the address, if it does, (B, H, N).
    """

    memory: Memory
    address: Address
    read: Tensor
    hidden: Hidden
    past: Tensor | None = None


class NTM(nn.Module):
    """A controller with heads on a memory; the access says whether heads average over cells or touch one.

    Graves, Wayne & Danihelka 2014, "Neural Turing Machines", arXiv:1410.5401; hard, and with head moves, Zaremba &
    Sutskever 2015, arXiv:1505.00521. Calls like `torch.nn.LSTM`: `outputs, state = ntm(inputs)`.

    Args:
        input_size: width of an input, I.
        output_size: width of an output, O (logits).
        num_cells: N. Schemes other than "absolute" accept another N at run time, through `initial_state`.
        cell_width: W.
        controller: a name from `CONTROLLERS`, or a `Controller` of inputs I + R W, of which hidden_size and gated do
            not decide anything.
        hidden_size: the controller's width D.
        addressing: a name from `SCHEMES`.
        access: a name from `ACCESS`; an attribute, to be changed between training and testing.
        heads: what each head does: "read", "write", or both with one address, "read-write".
        order: "read-write-move": read where the heads are, run the controller, write there, move. "move-write-read",
            the paper's: run the controller on the last read, move, write, read there.
        bypass: whether the output sees the controller beside what was read. Without it all must go through the memory.
        gated: whether every way around the memory starts shut, behind a learned scalar gate of 0: the controller's
            recurrence (`Gated`), what was read on its way into the controller, and the bypass. The model begins as
            the plainest machine that needs its cells, the one hard addresses are learned in, and opens the rest as it
            pays. False is the machine of the paper.
        memory_init: what the cells start with: a constant (Collier & Beel 2018, arXiv:1807.08518, recommend 1e-6),
            "random", drawn once and kept, or "learned". The last two tie the machine to N cells.
        no_op: whether the last cell stands for none: zeros are read there and what is written is dropped, so that a
            head can stay away from the memory (Gulcehre et al. 2016, arXiv:1607.00036).
        learned_start: whether the first weights of the heads, the first read and the controller's first state are
            learned; the weights tie the machine to N cells, and a hard head starts at the largest. Without it heads
            start at cell 0 and all else from zeros.
        batch_first: whether inputs and outputs are (B, T, ...) instead of (T, B, ...).

    The soft machine of the paper, and the hard one whose heads do not look into the cells, run a sequence as one fused
    operation, with the controllers of `CONTROLLERS`; set the attribute `fused` to False for the same numbers from
    separate operations, as second derivatives need them.

    Raises:
        ValueError: if a name is unknown, a size is below 1, or no head reads or none writes.
    """

    drawn_memory: Tensor | None

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        num_cells: int,
        cell_width: int = 20,
        controller: str | Controller = "feed-forward",
        hidden_size: int = 64,
        addressing: str = "content-location",
        access: str = "soft",
        heads: Sequence[str] = ("read", "write"),
        order: str = "move-write-read",
        bypass: bool = True,
        gated: bool = True,
        memory_init: float | str = 1e-6,
        no_op: bool = False,
        learned_start: bool = False,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if isinstance(controller, Controller):
            hidden_size = controller.hidden_size
        sizes = {"input_size": input_size, "output_size": output_size, "num_cells": num_cells}
        sizes |= {"cell_width": cell_width, "hidden_size": hidden_size}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if order not in ORDERS:
            raise ValueError(f"unknown order {order!r}; choose one of {list(ORDERS)}")
        self.reading = [number for number, role in enumerate(heads) if role in ("read", "read-write")]
        self.writing = [number for number, role in enumerate(heads) if role in ("write", "read-write")]
        if not self.reading or not self.writing or not set(heads) <= set(HEADS):
            raise ValueError(f"heads must be of {list(HEADS)}, one or more reading and writing, got {list(heads)}")
        if isinstance(memory_init, str) and memory_init not in MEMORY_INITS:
            raise ValueError(f"memory_init must be a number or one of {list(MEMORY_INITS)}, got {memory_init!r}")
        make_access(access)  # an unknown name fails here, not at the first step
        self.input_size, self.num_heads = input_size, len(heads)
        self.num_cells, self.cell_width = num_cells, cell_width
        self.access, self.order, self.bypass = access, order, bypass
        self.no_op, self.fused = no_op, True
        self.memory_init, self.batch_first = memory_init, batch_first
        self.fill = 0.0 if isinstance(memory_init, str) else memory_init

        read_size = len(self.reading) * cell_width
        if isinstance(controller, str):
            controller = make_controller(controller, input_size + read_size, hidden_size, gated=gated)
        self.controller = controller
        self.scheme = make_scheme(addressing, num_cells, cell_width)
        self.address_layer = nn.Linear(hidden_size, self.num_heads * self.scheme.num_outputs)
        self.write_layer = nn.Linear(hidden_size, len(self.writing) * 2 * cell_width)
        self.output_layer = nn.Linear(read_size + (hidden_size if bypass else 0), output_size)
        self.read_gate = nn.Parameter(torch.zeros(())) if gated else None
        self.bypass_gate = nn.Parameter(torch.zeros(())) if gated and bypass else None

        cells = torch.empty(num_cells, cell_width) if isinstance(memory_init, str) else None
        self.first_memory = nn.Parameter(cells) if cells is not None and memory_init == "learned" else None
        self.register_buffer("drawn_memory", cells if memory_init == "random" else None)
        self.first_weights = nn.Parameter(torch.empty(self.num_heads, num_cells)) if learned_start else None
        self.first_read = nn.Parameter(torch.empty(read_size)) if learned_start else None
        hidden = self.controller.initial_hidden(1, device=torch.device("cpu"), dtype=torch.get_default_dtype())
        self.first_hidden = nn.ParameterList(torch.empty_like(part[0]) for part in hidden if learned_start)
        self._reset_start()
        self.to(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw all parameters anew, and the cells that start drawn; gates shut again."""
        for module in (
            *self.controller.modules(),
            self.scheme,
            self.address_layer,
            self.write_layer,
            self.output_layer,
        ):
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
        for gate in (self.read_gate, self.bypass_gate):
            if gate is not None:
                nn.init.zeros_(gate)
        self._reset_start()

    @torch.no_grad()
    def cool(self, factor: float) -> None:
        """Multiply the logits of all addresses, so that heads are surer (> 1) or less sure of where they go.

        The likeliest stay the likeliest, of cells or of moves. Schemes without logits, which compare a key with cells,
        are left alone.
        """
        for parameter in self.address_layer.parameters():
            parameter.unflatten(0, (self.num_heads, -1))[:, : self.scheme.num_logits].mul_(factor)
        self.scheme.cool(factor)

    def _reset_start(self) -> None:
        bound = (self.num_cells + self.cell_width) ** -0.5
        for cells in (self.first_memory, self.drawn_memory):
            if cells is not None:
                nn.init.uniform_(cells, -bound, bound)
        if self.first_weights is not None:
            nn.init.normal_(self.first_weights)
        if self.first_read is not None:
            nn.init.normal_(self.first_read, std=0.01)
        for part in self.first_hidden:
            nn.init.normal_(part, std=0.05)

    def extra_repr(self) -> str:
        return f"num_cells={self.num_cells}, cell_width={self.cell_width}, access={self.access!r}, order={self.order!r}"

    def bank(self, batch_size: int, num_cells: int | None = None) -> Bank:
        """A bank for hard access, to be handed to `initial_state` for one sequence after the other."""
        weight, cells = self.output_layer.weight, self.num_cells if num_cells is None else num_cells
        return Bank(batch_size, cells, self.cell_width, fill=self.fill, device=weight.device, dtype=weight.dtype)

    def initial_state(self, batch_size: int, num_cells: int | None = None, *, bank: Bank | None = None) -> NTMState:
        """Where a sequence starts: as `memory_init` and `learned_start` say.

        Args:
            batch_size: B.
            num_cells: overrides N for this run.
            bank: where a hard memory is kept, so that a step costs the same for any N: the numbers are those without
                it. `num_cells` is then the bank's. Begins the bank's next sequence: the one before it is gone. Cells
                that start as they were drawn or learned are copied into it, at a price that grows with N.

        Raises:
            ValueError: if the bank does not fit, or N is not the one that what is learned was made for.
        """
        weight = self.output_layer.weight
        cells = self.num_cells if num_cells is None else num_cells
        if bank is not None:
            cells = bank.cells.shape[1]
            if bank.cells.shape != (batch_size, cells, self.cell_width):
                raise ValueError(
                    f"the bank must be (B, N, W) = ({batch_size}, N, {self.cell_width}), got {tuple(bank.cells.shape)}"
                )
        tied = isinstance(self.memory_init, str) or self.first_weights is not None
        if tied and cells != self.num_cells:
            raise ValueError(
                f"cells or weights that are drawn or learned are tied to N = {self.num_cells} cells, got {cells}"
            )
        first = self.first_memory if self.first_memory is not None else self.drawn_memory
        if bank is not None:
            memory: Memory = bank.begin(first)
        elif first is not None:
            memory = first.expand(batch_size, -1, -1).clone()
        else:
            memory = weight.new_full((batch_size, cells, self.cell_width), self.fill)
        return NTMState(
            memory, self._first_address(batch_size, cells), self._first_read(batch_size), self._first_hidden(batch_size)
        )

    def _first_address(self, batch_size: int, num_cells: int) -> Address:
        weight = self.output_layer.weight
        if self.first_weights is not None and self.access == "soft":
            return SoftAddress(self.first_weights.softmax(dim=-1).expand(batch_size, -1, -1))
        if self.first_weights is not None:
            return HardAddress(self.first_weights.argmax(dim=-1).expand(batch_size, -1))
        if self.access == "soft":
            weights = weight.new_zeros((batch_size, self.num_heads, num_cells))
            weights[..., 0] = 1
            return SoftAddress(weights)
        return HardAddress(torch.zeros(batch_size, self.num_heads, dtype=torch.int64, device=weight.device))

    def _first_read(self, batch_size: int) -> Tensor:
        if self.first_read is not None:
            return self.first_read.expand(batch_size, -1)
        return self.output_layer.weight.new_zeros((batch_size, len(self.reading) * self.cell_width))

    def _first_hidden(self, batch_size: int) -> Hidden:
        if len(self.first_hidden):
            return tuple(part.expand(batch_size, -1) for part in self.first_hidden)
        weight = self.output_layer.weight
        return self.controller.initial_hidden(batch_size, device=weight.device, dtype=weight.dtype)

    def forward(
        self, inputs: Tensor, state: NTMState | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NTMState]:
        """Run a sequence: inputs (T, B, I) -> outputs (T, B, O) and the last state."""
        outputs, state, _ = self.trace(inputs, state, generator)
        return outputs, state

    def trace(
        self, inputs: Tensor, state: NTMState | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NTMState, AccessRecord | None]:
        """`forward`, and what was chosen on the way: fields (T, B, H), None where the access chooses nothing.

        The record of step t is the choice of the address in use from the moment it is made: cost from step t on
        depends on it. With `batch_first` the record is (B, T, H).
        """
        if inputs.dim() != 3 or inputs.shape[-1] != self.input_size:
            layout = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ValueError(f"inputs must be {layout} with I = {self.input_size}, got {tuple(inputs.shape)}")
        time_first = inputs.transpose(0, 1) if self.batch_first else inputs
        if state is None:
            state = self.initial_state(time_first.shape[1])
        elif isinstance(state.memory, Tensor) and not torch.is_grad_enabled():
            # Steps will write in place: not into the memory the caller holds.
            state = state._replace(memory=state.memory.clone())
        heads = self.unrolled_heads(state, generator)
        if heads is not None:
            outputs, state, record = self._unroll(time_first, state, heads)
            if self.batch_first:
                record = None if record is None else AccessRecord(*(field.transpose(0, 1) for field in record))
                return outputs.transpose(0, 1), state, record
            return outputs, state, record
        steps, records = [], []
        for step_inputs in time_first:
            output, state, record = self.step(step_inputs, state, generator)
            steps.append(output)
            if record is not None:
                records.append(record)
        dim = 1 if self.batch_first else 0
        record = (
            AccessRecord(*(torch.stack(field, dim=dim) for field in zip(*records, strict=True))) if records else None
        )
        return torch.stack(steps, dim=dim), state, record

    def rollout(
        self,
        batch_size: int,
        num_cells: int | None = None,
        *,
        bank: Bank | None = None,
        generator: torch.Generator | None = None,
        keep: bool = False,
    ) -> Rollout:
        """A sequence to be played step by step without gradients, from the `initial_state` of these arguments."""
        return Rollout(self, self.initial_state(batch_size, num_cells, bank=bank), generator, keep=keep)

    def unrolled_heads(self, state: NTMState, generator: torch.Generator | None, *, keep: bool = True) -> Heads | None:
        """The heads for a sequence as one operation; None where it has to go by separate ones.

        With `keep` they remember what they chose.
        """
        memory, address, reads_first = state.memory, state.address, self.order == "read-write-move"
        plain = self.fused and not self.no_op and has_recurrence(self.controller)
        if not plain or torch.compiler.is_compiling() or is_autocast(address[0].device):
            return None
        if self.access in HARD and self.scheme.blind and isinstance(address, HardAddress):
            on_host = HostHeads.fits(memory, self.scheme, self.reading, self.writing)
            return (HostHeads if on_host else HardHeads)(
                self.scheme,
                self.access,
                memory,
                address.index,
                self.reading,
                self.writing,
                reads_first,
                generator,
                keep=keep,
            )
        if self.access != "soft" or reads_first:
            return None
        if isinstance(self.scheme, ContentLocation) and isinstance(memory, Tensor):
            layout = Layout(tuple(self.reading), tuple(self.writing), self.scheme.offsets)
            return SoftHeads(memory, as_weights(address, memory.shape[1], memory.dtype), layout)
        return None

    def head_parameters(self) -> tuple[Tensor, Tensor]:
        """From features to the numbers of all heads, weight (P, D) and bias (P,): first where to look, then writes."""
        layers = self.address_layer, self.write_layer
        return torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])

    def _unroll(self, inputs: Tensor, state: NTMState, heads: Heads) -> tuple[Tensor, NTMState, AccessRecord | None]:
        """A sequence (T, B, I) as one operation."""
        weight, bias = self.head_parameters()
        by_input = sums(self.controller, inputs, self.read_gate)
        result = unroll(by_input, self.controller, heads, weight, bias, state.read, state.hidden)
        after = NTMState(result.memory, result.address, result.reads[-1], result.hidden)
        return self.output(result.features, result.reads), after, result.record

    def step(
        self, inputs: Tensor, state: NTMState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NTMState, AccessRecord | None]:
        """One step: inputs (B, I) -> outputs (B, O), the next state, and the record of the addresses chosen, (B, H).

        Without gradients a hard write changes the memory of the given `state` itself: go on from the returned one.
        """
        if self.order == "read-write-move":
            read_vector = self._read(state.memory, state.address)
            features, hidden = self.control(inputs, read_vector, state.hidden)
            memory = self._write(state.memory, state.address, features)
            address, past, record = self._move(memory, state, features, generator)
        elif self.fused and self.access == "soft" and isinstance(self.scheme, ContentLocation) and not self.no_op:
            features, hidden = self.control(inputs, state.read, state.hidden)
            memory, address, read_vector = self._fused_step(self.scheme, state, features)
            past, record = None, None
        else:
            features, hidden = self.control(inputs, state.read, state.hidden)
            address, past, record = self._move(state.memory, state, features, generator)
            memory = self._write(state.memory, address, features)
            read_vector = self._read(memory, address)
        return self.output(features, read_vector), NTMState(memory, address, read_vector, hidden, past), record

    def _fused_step(
        self, scheme: ContentLocation, state: NTMState, features: Tensor
    ) -> tuple[Tensor, SoftAddress, Tensor]:
        """Move, write and read as one operation."""
        if isinstance(state.memory, Contents):
            raise ValueError("soft access touches every cell: keep the memory in a tensor, not in a bank")
        raw = self.address_layer(features).unflatten(-1, (self.num_heads, -1))
        raw_write = self.write_layer(features).unflatten(-1, (len(self.writing), 2, self.cell_width))
        layout = Layout(tuple(self.reading), tuple(self.writing), scheme.offsets)
        previous = as_weights(state.address, state.memory.shape[1], state.memory.dtype)
        memory, weights, rows = move_write_read(state.memory, previous, raw, raw_write, layout)
        return memory, SoftAddress(weights), rows.flatten(1)

    def control(self, inputs: Tensor, read_vector: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """One step of the controller: inputs (B, I), what was read (B, R W), its state -> features and next state."""
        seen = read_vector if self.read_gate is None else self.read_gate * read_vector
        features, hidden = self.controller(torch.cat([inputs, seen], dim=-1), hidden)
        return features, hidden

    def output(self, features: Tensor, read_vector: Tensor) -> Tensor:
        """Logits (..., O) from the controller's features and what was read, (..., R W)."""
        seen = read_vector
        if self.bypass:
            past = features if self.bypass_gate is None else self.bypass_gate * features
            seen = torch.cat([past, read_vector], dim=-1)
        outputs: Tensor = self.output_layer(seen)
        return outputs

    def _move(
        self, memory: Memory, state: NTMState, features: Tensor, generator: torch.Generator | None
    ) -> tuple[Address, Tensor | None, AccessRecord | None]:
        raw = self.address_layer(features).unflatten(-1, (self.num_heads, -1)).to(self.output_layer.weight.dtype)
        with as_given(raw.device):
            distribution, past = self.scheme.look(raw, state.address, memory, state.past)
        address, record = make_access(self.access)(distribution, memory.shape[1], generator)
        return address, past, record

    def _read(self, memory: Memory, address: Address) -> Tensor:
        where = self._somewhere(select_heads(address, self.reading))
        with as_given(self.output_layer.weight.device):
            rows = memory.read(where) if isinstance(memory, Contents) else read(memory, where)
        if self.no_op and isinstance(where, HardAddress):
            rows = rows * _is_cell(where, memory)
        return rows.flatten(1)

    def _write(self, memory: Memory, address: Address, features: Tensor) -> Memory:
        raw = self.write_layer(features).unflatten(-1, (len(self.writing), 2, self.cell_width))
        raw = raw.to(self.output_layer.weight.dtype)
        erase, add = raw[:, :, 0].sigmoid(), raw[:, :, 1]
        where = self._somewhere(select_heads(address, self.writing))
        if self.no_op and isinstance(where, HardAddress):
            is_cell = _is_cell(where, memory)
            erase, add = erase * is_cell, add * is_cell
        with as_given(raw.device):
            if isinstance(memory, Contents):
                return memory.write(where, erase, add)
            return write(memory, where, erase, add, inplace=not torch.is_grad_enabled())

    def _somewhere(self, address: Address) -> Address:
        """With a no-op cell, soft weights without its own."""
        if self.no_op and isinstance(address, SoftAddress):
            return SoftAddress(F.pad(address.weights[..., :-1], (0, 1)))
        return address


def _is_cell(address: HardAddress, memory: Memory) -> Tensor:
    """Whether a head is anywhere but at the no-op cell, the last: (B, H, 1)."""
    return (address.index < memory.shape[1] - 1).unsqueeze(-1)
