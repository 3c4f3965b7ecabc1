"""Rendering: one episode as text or as a picture: input, output, the cells and the heads on them, the last action.

It shows a spectator what happens, not what an agent sees: all cells, and whether an answer is due, but not which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hardmem.envs.dynamics import Dynamics
from hardmem.envs.episodes import Episodes
from hardmem.envs.interfaces import Associative, Tape

Frame = str | NDArray[Any]

RENDER_MODES = ("ansi", "rgb_array")

CELLS_A_ROW = 24
LETTER, LINE = 6, 14
"""Pixels that a letter and a line take, about."""
EMPTY, FULL, INPUT = (238, 238, 238), (173, 206, 240), (250, 226, 160)
RIGHT, WRONG = (190, 230, 180), (245, 190, 180)
HEAD, INK, FAINT = (214, 60, 40), (30, 30, 30), (140, 140, 140)


def render(episodes: Episodes, place: int, mode: str) -> Frame:
    """Episode number `place` as text ("ansi") or as a picture ("rgb_array", uint8, (height, width, 3))."""
    return _text(episodes, place) if mode == "ansi" else _picture(episodes, place)


def _text(episodes: Episodes, place: int) -> str:
    state = episodes.state
    heads, cells = state.head[place].tolist(), episodes.symbols(state.memory.codes()[place])
    drawn = [f"[{_words(cell)}]" if number in heads else f" {_words(cell)} " for number, cell in enumerate(cells)]
    rows = ["".join(drawn[first : first + CELLS_A_ROW]) for first in range(0, len(drawn), CELLS_A_ROW)]
    output, right = _output(episodes, place)
    judged = f"{output[0]} ({'right' if right else 'wrong'})" if output else "-"
    lines = [_progress(episodes, place), f"shown {_words(episodes.symbols(state.shown[place]))}"]
    lines += [f"answered {judged}", *_deeds(episodes, place)]
    return "\n".join(lines + [f"cells {row}".rstrip() for row in rows]) + "\n"


def _picture(episodes: Episodes, place: int) -> NDArray[np.uint8]:
    state, dynamics = episodes.state, episodes.dynamics
    heads, cells = state.head[place].tolist(), episodes.symbols(state.memory.codes()[place])
    deeds = _deeds(episodes, place)
    # The same size throughout an episode: a video needs it.
    digits = len(str(max([*dynamics.task.input_sizes, dynamics.num_cells])))
    side, height = LETTER * max(digits, 3) + 10, LINE * len(dynamics.task.input_sizes) + 6
    row_height = LINE + height + 12 + LINE
    top = 2 * LINE + height + LINE * len(deeds) + 20
    width = max((side + 3) * min(len(cells), CELLS_A_ROW), LETTER * 64) + 16
    total = top + row_height * -(-len(cells) // CELLS_A_ROW)
    image = Image.new("RGB", (width + width % 2, total + total % 2), "white")  # even, as video formats want it
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()

    def write(left: int, upper: int, text: str, ink: tuple[int, int, int] = INK) -> None:
        draw.text((left, upper), text, fill=ink, font=font)

    def box(left: int, upper: int, label: str, symbols: list[str], fill: tuple[int, int, int]) -> None:
        write(left, upper, label, FAINT)
        upper += LINE
        draw.rectangle((left, upper, left + side, upper + height), fill=fill if symbols else EMPTY, outline=INK)
        for number, symbol in enumerate(symbols):
            write(left + 5, upper + 3 + LINE * number, symbol)

    write(8, 4, _progress(episodes, place))
    upper = 8 + LINE
    box(8, upper, "shown", _symbols(episodes.symbols(state.shown[place])), INPUT)
    output, right = _output(episodes, place)
    box(8 + 10 * LETTER, upper, "answered", output, RIGHT if right else WRONG)
    for number, deed in enumerate(deeds):
        write(8, upper + LINE + height + 6 + LINE * number, deed)
    for number, cell in enumerate(cells):
        row, column = divmod(number, CELLS_A_ROW)
        left, upper = 8 + (side + 3) * column, top + row * row_height
        box(left, upper, str(number), _symbols(cell), FULL)
        here = [str(head) for head, position in enumerate(heads) if position == number]
        if here:
            middle, foot = left + side // 2, upper + LINE + height
            draw.polygon([(middle, foot + 2), (middle - 5, foot + 11), (middle + 5, foot + 11)], fill=HEAD)
            if len(heads) > 1:
                write(middle - 3 * len(here), foot + 11, ",".join(here), HEAD)
    return np.asarray(image).copy()


def _progress(episodes: Episodes, place: int) -> str:
    state = episodes.state
    clock = int(state.clock[place])
    due = ", an answer is due" if int(state.due[place]) >= 0 else ""
    return f"step {clock} of {int(state.script.num_steps[place])}, earned {float(state.earned[place]):.2f}{due}"


def _action(episodes: Episodes, place: int) -> dict[str, int] | None:
    """The last action of the problem by factor; None where there was none."""
    if episodes.action is None or episodes.age[place] == 0:
        return None
    action: dict[str, int] = dict(zip(episodes.dynamics.factors, episodes.action[place].tolist(), strict=True))
    if action.get("pace") == 0 or int(episodes.state.clock[place]):
        return action
    return None  # it ended the last level of an endless episode


def _output(episodes: Episodes, place: int) -> tuple[list[str], bool]:
    """The symbol of the last answer, if one was due then and its symbol was chosen, and whether it was right."""
    action, clock = _action(episodes, place), int(episodes.state.clock[place])
    if action is None or "answer" not in action or action.get("pace") == 0:
        return [], False
    due = int(episodes.script.due[place, clock - 1])
    return ([str(action["answer"] + 1)] if due >= 0 else []), action["answer"] == due


def _deeds(episodes: Episodes, place: int) -> list[str]:
    """What the last action did, a line for each head, in the order of a step; and whether the input went on.

    Before the first one: where a head starts.
    """
    dynamics, action = episodes.dynamics, _action(episodes, place)
    lines = []
    for head in range(dynamics.num_heads):
        line = f"head {head}: starts at cell 0"
        if action is not None:
            written = action[f"write {head}"]
            what = f" {written}" if dynamics.write == "symbol" else ""
            writes, moves = f"write{what}" if written else "", _move(dynamics, action[f"address {head}"])
            in_order = (moves, writes) if dynamics.moves_first else (writes, moves)
            line = f"head {head}: {', then '.join(filter(None, in_order))}"
        lines.append(line)
    if dynamics.self_paced:
        lines.append("the input begins" if action is None else f"the input {'goes on' if action['pace'] else 'waits'}")
    return lines


def _move(dynamics: Dynamics, action: int) -> str:
    """What an address means, in words."""
    if isinstance(dynamics.interface, Tape):
        move = dynamics.interface.table.moves[action]
        return "stay" if move == 0 else f"move {move:+d}" if isinstance(move, int) else f"go {move}"
    if not isinstance(dynamics.interface, Associative):
        return f"go to cell {action}"
    if action == 0 or action == dynamics.interface.num_actions - 1:
        return "find the next cell" if action else "find an empty cell"
    symbol = action
    for channel in dynamics.task.key_channels:
        if symbol <= dynamics.task.input_sizes[channel]:
            break
        symbol -= dynamics.task.input_sizes[channel]
    named = [symbol if other == channel else 0 for other in range(len(dynamics.task.input_sizes))]
    return f"find {' '.join(_symbols(named))}"


def _symbols(symbols: list[int]) -> list[str]:
    """A dot stands for a blank beside others; nothing at all for nothing."""
    return [str(symbol) if symbol else "." for symbol in symbols] if any(symbols) else []


def _words(symbols: list[int]) -> str:
    return ",".join(_symbols(symbols)) or "."
