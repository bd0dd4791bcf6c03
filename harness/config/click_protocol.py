"""How instances are clicked: the `clicks:` of a config, and what is checked of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from harness.config.parts import Model
from harness.plugins import parameters
from harness.plugins.registry import find
from harness.structures import UserError


class Clicks(Model):
    """The click protocol: rounds of a strategy until `max_clicks` are made; or none, for methods that segment by text.

    Attributes:
        strategy: One of harness/clicks/, by name and version.
        options: The strategy's own.
        max_clicks: Clicks an instance; a row is written after each round. 0 asks once, by the text alone.
        draws: How often an instance is asked for, each time with clicks drawn anew.
    """

    strategy: str = "paper/v1"
    options: dict[str, Any] = Field(default_factory=dict)
    max_clicks: Annotated[int, Field(ge=0)] = 1
    draws: Annotated[int, Field(gt=0)] = 1

    @property
    def protocol(self) -> dict[str, Any]:
        """What rows depend on; a single draw goes without saying, as in runs of before there were several."""
        if not self.max_clicks:
            return {"max_clicks": 0}
        said = self.model_dump()
        return said if self.draws > 1 else {name: value for name, value in said.items() if name != "draws"}


def checked_clicks(clicks: Clicks, where: str) -> Clicks:
    """Clicks with the strategy's options checked against its function; `where` begins the message.

    Raises:
        UserError: At the first mistake.
    """
    # It loads OpenCV, which a run's recorded config does without.
    from harness.clicks import clicks_a_round
    from harness.clicks.strategy import asks_for_pairs, completed, draws_differ

    if not clicks.max_clicks:
        return _no_clicks(clicks, where)
    rule = find("clicks", clicks.strategy, f"{where}.strategy")
    options = parameters.arguments(rule, clicks.strategy, clicks.options, f"{where}.options")
    try:
        options = completed(clicks.strategy, options)
        a_round = clicks_a_round(clicks.strategy, options)
    except UserError as error:
        raise UserError(f"{where}.options: {error}") from error
    # A protocol of 3 clicks with a rule that makes 2 a round would end in the middle of a round.
    if clicks.max_clicks % a_round:
        raise UserError(
            f"{where}.max_clicks: found {clicks.max_clicks}; {clicks.strategy} with these options makes {a_round} "
            f"clicks a round: wanted {a_round} or a multiple of it."
        )
    if asks_for_pairs(clicks.strategy) and clicks.max_clicks > a_round:
        raise UserError(
            f"{where}.max_clicks: found {clicks.max_clicks}; {clicks.strategy} makes the {a_round} that two objects "
            f"share, and later ones would be for one of them: wanted {a_round}."
        )
    if clicks.draws > 1 and (asks_for_pairs(clicks.strategy) or not draws_differ(clicks.strategy, options)):
        raise UserError(
            f"{where}.draws: found {clicks.draws}; {clicks.strategy} with these options makes the same clicks in every "
            "draw, and asking again would tell nothing: wanted 1, or a strategy that draws, such as paper/v1."
        )
    return clicks.model_copy(update={"options": options})


def _no_clicks(clicks: Clicks, where: str) -> Clicks:
    """A protocol without clicks: it has no strategy that could be another."""
    if clicks.draws > 1:
        raise UserError(f"{where}.draws: found {clicks.draws}; without clicks every draw is the same: wanted 1.")
    return Clicks(max_clicks=0)
