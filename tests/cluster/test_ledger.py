"""When the deaths of a training's loaders look like chance, and when another start would be of no use."""

from harness.cluster.ledger import RESTARTS, Ledger
from harness.structures import UserError
from harness.training.one_rank import Progress


def test_a_loader_that_dies_further_on_does_not() -> None:
    def progress(step: int) -> Progress:
        return Progress(step, 100, 0.0, 0.0, 1.0)

    ledger = Ledger()
    for step in (20, 40):
        ledger.report(progress(step))
        ledger.loader_died(0, "reason")
        ledger.loader_died(1, "reason")  # Another worker's, of the same moment.
        assert ledger.given_up() is None
    ledger.report(progress(20))  # From the last state on: no further than before.
    ledger.loader_died(0, "reason")
    assert isinstance(ledger.given_up(), UserError)
    leaking = Ledger()
    for step in range(1, RESTARTS + 2):
        assert leaking.begin() is None
        leaking.report(progress(step))
        leaking.loader_died(0, "reason")
    assert str(leaking.begin()) == "reason"  # Not as often as it likes.
