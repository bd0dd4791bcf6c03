"""The probes of `python -m harness check`, a test each."""

from __future__ import annotations

import pytest

from harness.checking import Outcome, named

(SUBJECT,) = named("my_plugin.disk:Disk", {"radius": 7})


@pytest.mark.parametrize("outcome", list(SUBJECT.outcomes()), ids=lambda outcome: outcome.probe)
def test_a_probe(outcome: Outcome) -> None:
    if outcome.verdict == "skipped":
        pytest.skip(outcome.text)
    assert outcome.verdict == "passed", f"{outcome.text} {outcome.mend}"
