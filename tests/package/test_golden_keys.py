"""The frames that freeze cbor-2 use every key of its grammar."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from stranger import ROOT

FRAMES = ROOT / "tests" / "data" / "golden-cbor2.json"


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set[str]().union(*map(keys_of, value)) if isinstance(value, list) else set()


def grammar_keys() -> set[str]:
    """Names before a colon in the grammars of `register` and cbor-2, and in what cbor-2 shares."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    blocks = re.findall(r"```cddl\n(.*?)```", text, re.DOTALL)
    register, cbor1, cbor2 = blocks
    shared = re.findall(r"^(?:task-info|object-info) = \{.*?\}$", cbor1, re.DOTALL | re.MULTILINE)
    assert len(shared) == 2
    without_comments = re.sub(r";.*", "", "\n".join([register, cbor2, *shared]))
    maps = "".join(re.findall(r"\{[^[]*?\}|\{.*?\n\}", without_comments, re.DOTALL))
    return set(re.findall(r"[\s{,](\w+):", maps))


def test_every_key_of_the_grammar_is_in_a_golden_frame() -> None:
    wanted = grammar_keys()
    assert {"seq", "inline_limit", "printed", "lost", "duration", "in", "request"} <= wanted
    assert wanted - keys_of([frame["decoded"] for frame in json.loads(FRAMES.read_text())]) == set()


def test_the_frames_are_what_their_program_writes() -> None:
    before = FRAMES.read_text()
    subprocess.run([sys.executable, FRAMES.with_name("golden_cbor2.py")], check=True)
    assert FRAMES.read_text() == before
