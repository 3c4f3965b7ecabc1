"""Rendering: one episode as text or as a picture: what is shown, the cells and the heads on them, the last action."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hardmem.envs.episodes import Episodes

Frame = str | NDArray[Any]

RENDER_MODES = ("ansi", "rgb_array")

PITCH = 28
"""Pixels from one cell to the next."""
CELLS_A_ROW = 24
EMPTY, FULL, HEAD, INK = (238, 238, 238), (173, 206, 240), (214, 60, 40), (30, 30, 30)


def render(episodes: Episodes, place: int, mode: str) -> Frame:
    """Episode number `place` as text ("ansi") or as a picture ("rgb_array", uint8, (height, width, 3))."""
    return _text(episodes, place) if mode == "ansi" else _picture(episodes, place)


def _header(episodes: Episodes, place: int) -> list[str]:
    """Lines on the step, the symbols shown, what has been earned, and the action that led here."""
    state, dynamics = episodes.state, episodes.dynamics
    clock, last = int(state.clock[place]), int(state.script.num_steps[place])
    shown = " ".join(_symbol(symbol) for symbol in episodes.symbols(state.shown[place]))
    lines = [f"step {clock} of {last}", f"shown {shown}", f"earned {float(state.earned[place]):.2f}"]
    if episodes.action is None or clock == 0:
        return [*lines, "no action yet"]
    action = episodes.action[place].tolist()
    return [*lines, ", ".join(f"{name} {choice}" for name, choice in zip(dynamics.factors, action, strict=True))]


def _text(episodes: Episodes, place: int) -> str:
    state = episodes.state
    heads = state.head[place].tolist()
    cells = [",".join(map(_symbol, cell)) for cell in episodes.symbols(state.memory.codes()[place])]
    drawn = [f"[{cell}]" if number in heads else f" {cell} " for number, cell in enumerate(cells)]
    return "\n".join([*_header(episodes, place), "cells " + "".join(drawn)]) + "\n"


def _picture(episodes: Episodes, place: int) -> NDArray[np.uint8]:
    state, font = episodes.state, ImageFont.load_default()
    cells = episodes.symbols(state.memory.codes()[place])
    header = _header(episodes, place)
    line = 16
    top = line * len(header) + 8
    rows = -(-len(cells) // CELLS_A_ROW)
    # The same size throughout an episode: a video needs it. The action's line is the longest, about 6 pixels a letter.
    names = sum(len(name) + 8 for name in episodes.dynamics.factors)
    width = max(PITCH * min(len(cells), CELLS_A_ROW), 6 * names) + 16
    image = Image.new("RGB", (width + width % 2, top + rows * (PITCH + 12) + 8), "white")
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(header):
        draw.text((8, 4 + line * number), text, fill=INK, font=font)
    for number, cell in enumerate(cells):
        row, column = divmod(number, CELLS_A_ROW)
        left, upper = 8 + PITCH * column, top + row * (PITCH + 12)
        box = (left, upper, left + PITCH - 3, upper + PITCH - 3)
        draw.rectangle(box, fill=FULL if any(cell) else EMPTY, outline=INK)
        draw.text((left + 3, upper + 7), ",".join(map(_symbol, cell)), fill=INK, font=font)
        if number in state.head[place]:
            middle, foot = left + PITCH // 2 - 1, upper + PITCH
            draw.polygon([(middle, foot - 1), (middle - 5, foot + 8), (middle + 5, foot + 8)], fill=HEAD)
    return np.asarray(image).copy()


def _symbol(symbol: int) -> str:
    return str(symbol) if symbol else "."
