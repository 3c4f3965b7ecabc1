"""Spelling: words of an invented language and how they sound, by rules that look at neighbouring letters.

A task for attention that moves forward: sounds come in the order of the letters, but not one for one. It is no `Task`,
since a sound is nowhere shown: it has to be made from letters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ONSETS = ("", "b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "sh", "ch", "th", "ph")
VOWELS = ("a", "e", "i", "o", "u", "ee", "oo", "ai")
CODAS = ("", "", "b", "d", "ll", "n", "ng", "ss", "tt", "r")

PAIRS = {"sh": "S", "ch": "C", "th": "T", "ph": "f", "ng": "N", "ee": "I", "oo": "U", "ai": "A"}
"""Two letters that make one sound, as a doubled consonant does."""

LETTERS = "abcdefghilmnoprstu"
SOUNDS = tuple("bdfghjklmnprstaeiou" + "AIOUSCTN")
LONG = {"a": ("A",), "e": ("I",), "i": ("a", "i"), "o": ("O",), "u": ("j", "U")}
"""What a vowel becomes before one consonant and a final silent e: sometimes two sounds."""


class Words(NamedTuple):
    """A batch of words, time-first. 0 is the blank; letters and sounds are numbered from 1.

    Attributes:
        letters: (S, B), int64.
        sounds: (T, B), int64; T - 1 sounds at most, so that every word ends with a blank to be answered.
        mask: which sounds count, (T, B), bool: those of the word and the blank after it.
    """

    letters: Tensor
    sounds: Tensor
    mask: Tensor


def pronounce(word: str) -> list[str]:
    """The sounds of a word, by the rules of the language.

    Pairs and doubled letters make one sound; c is s before e or i, else k; g is j before e or i; a vowel before one
    consonant and a final e is long, and that e silent.

    Raises:
        ValueError: if a letter is unknown.
    """
    unknown = sorted(set(word) - set(LETTERS))
    if unknown:
        raise ValueError(f"letters must be among {LETTERS!r}, got {unknown} in {word!r}")
    silent = len(word) > 2 and word[-1] == "e" and word[-2] not in "aeiou" and word[-3] in "aeiou"
    end, place, sounds = len(word) - silent, 0, list[str]()
    while place < end:
        letter, pair = word[place], word[place : min(place + 2, end)]
        soft = place + 1 < len(word) and word[place + 1] in "ei"
        if pair in PAIRS:
            sounds.append(PAIRS[pair])
            place += 2
            continue
        if silent and place == end - 2 and letter in LONG:
            sounds.extend(LONG[letter])
        elif letter == "c":
            sounds.append("s" if soft else "k")
        elif letter == "g":
            sounds.append("j" if soft else "g")
        else:
            sounds.append(letter)
        place += 2 if pair == 2 * letter and letter not in "aeiou" else 1
    return sounds


def draw_word(syllables: int, generator: torch.Generator | None = None) -> str:
    """A word of so many syllables; one in four ends in a silent e."""

    def one_of(parts: tuple[str, ...]) -> str:
        return parts[int(torch.randint(len(parts), (), generator=generator))]

    word = "".join(one_of(ONSETS) + one_of(VOWELS) + one_of(CODAS) for _ in range(syllables))
    if int(torch.randint(4, (), generator=generator)) == 0:
        word = word.rstrip("aeiou") or word
        word += one_of(("a", "i", "o", "u")) + one_of(("t", "n", "d", "m")) + "e"
    return word


def draw_words(
    num_words: int,
    max_syllables: int = 2,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Words:
    """Words of 1 to `max_syllables` syllables and their sounds, drawn on the CPU, padded to the longest.

    Raises:
        ValueError: if a number is below 1.
    """
    if num_words < 1 or max_syllables < 1:
        raise ValueError(f"num_words and max_syllables must be at least 1, got {num_words} and {max_syllables}")
    counts = torch.randint(1, max_syllables + 1, (num_words,), generator=generator).tolist()
    return spell_out([draw_word(count, generator) for count in counts], device=device)


def spell_out(words: list[str], *, device: torch.device | str = "cpu") -> Words:
    """Given words as tensors."""
    letters = [[LETTERS.index(letter) + 1 for letter in word] for word in words]
    sounds = [[SOUNDS.index(sound) + 1 for sound in pronounce(word)] for word in words]
    return as_words(letters, sounds, device=device)


def as_words(letters: list[list[int]], sounds: list[list[int]], *, device: torch.device | str = "cpu") -> Words:
    """Rows of numbers from 1, one for each word, as tensors."""
    longest = max(map(len, sounds)) + 1
    mask = [[step <= len(row) for step in range(longest)] for row in sounds]
    return Words(_padded(letters, max(map(len, letters)), device), _padded(sounds, longest, device),
                 torch.tensor(mask, device=device).T)  # fmt: skip


def _padded(rows: list[list[int]], length: int, device: torch.device | str) -> Tensor:
    return torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device).T
