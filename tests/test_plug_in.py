"""The page of libraries is what its script writes, from what their tests found."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_is_current():
    """Run `python benchmarks/plug_in.py` if it is not."""
    spec = importlib.util.spec_from_file_location("plug_in", ROOT / "benchmarks" / "plug_in.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.PAGE.read_text()
    assert script.page(text, script.load()) == text
    for title, _, file in script.LIBRARIES.values():
        assert title in text or title[0].upper() + title[1:] in text
        compile((ROOT / "examples" / "plug_in" / f"in_{file}.py").read_text(), file, "exec")
