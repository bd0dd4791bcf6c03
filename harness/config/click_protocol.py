"""A config's `clicks:`, by which instances are clicked, and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness import messages, places
from harness.config.parts import Model
from harness.plugins import parameters
from harness.plugins.interfaces import Method
from harness.plugins.registry import find
from harness.structures import UserError


class Start(Model):
    """The start of prompts beside clicks; a rule's name alone may be written for a rule with its defaults.

    Attributes:
        rule: A rule of harness/clicks/starts.py: "box/v1" or "rough/v1".
        options: The rule's options.
    """

    rule: str
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def protocol(self) -> dict[str, Any]:
        """The part that rows depend on."""
        return {"rule": self.rule, "options": _portable(self.options)}


def _portable(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without the place of a file or a run if its hash is known: the file may move, its content counts."""
    places_of_hashed = ("file", "run") if options.get("sha256") else ()
    return {name: value for name, value in options.items() if name not in places_of_hashed}


def _as_start(value: Any) -> Any:
    return {"rule": value} if isinstance(value, str) else value


class Clicks(Model):
    """The click protocol: rounds of a strategy until `max_clicks` are made; or no click, to segment by the text alone.

    Attributes:
        strategy: A click rule of harness/clicks/, by name and version.
        options: The click rule's options.
        max_clicks: The number of clicks on an instance; a row is written after each round. 0 asks once, by the text
            alone.
        draws: The number of times that an instance is asked for, each time with clicks drawn anew.
        start: The box or rough mask that prompts start from, in place of the data set's own.
    """

    strategy: str = "paper/v1"
    options: dict[str, Any] = Field(default_factory=dict)
    max_clicks: Annotated[int, Field(ge=0)] = 1
    draws: Annotated[int, Field(gt=0)] = 1
    start: Annotated[Start | None, BeforeValidator(_as_start)] = None

    @property
    def protocol(self) -> dict[str, Any]:
        """The part that rows depend on."""
        # One draw and no start are left out. Rows are found again by the hash of this mapping, and those of runs that
        # were made before these two keys existed would otherwise be computed again.
        started = {"start": self.start.protocol} if self.start else {}
        if not self.max_clicks:
            return {"max_clicks": 0} | ({"draws": self.draws} if self.draws > 1 else {}) | started
        unsaid = {"start"} if self.draws > 1 else {"start", "draws"}
        return self.model_dump(exclude=unsaid) | {"options": _portable(self.options)} | started

    @property
    def by_box_alone(self) -> bool:
        """Whether prompts have a box and no click; the box then takes the click's place."""
        return not self.max_clicks and self.start is not None and self.start.rule == "box/v1"


def checked_clicks(clicks: Clicks, where: str) -> Clicks:
    """Check the strategy's options against its function, and return the clicks with all options filled in.

    The order is from the parts to the whole: the start, the rule's name, its options, and then two facts that follow
    from them: how many clicks a round has, and whether a second draw would differ from the first.

    Args:
        clicks: The clicks as in the config.
        where: The start of a message, such as "configs/a.yaml, clicks".

    Raises:
        UserError: At the first mistake.
    """
    # It loads OpenCV, which a run's recorded config does without.
    from harness.clicks import clicks_a_round
    from harness.clicks.strategy import asks_for_pairs, completed, draws_differ

    if clicks.start:
        clicks = clicks.model_copy(update={"start": _checked_start(clicks.start, f"{where}.start")})
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
            f"{where}.max_clicks: found {clicks.max_clicks}; wanted {a_round} or a multiple of it, since "
            f"{clicks.strategy} with these options makes {a_round} clicks per round."
        )
    if asks_for_pairs(clicks.strategy) and clicks.max_clicks > a_round:
        raise UserError(
            f"{where}.max_clicks: found {clicks.max_clicks}; wanted {a_round}, since {clicks.strategy} makes only "
            "the clicks that two objects share."
        )
    differ = draws_differ(clicks.strategy, options) or _begins_differ(clicks)
    if clicks.draws > 1 and (asks_for_pairs(clicks.strategy) or not differ):
        raise UserError(
            f"{where}.draws: found {clicks.draws}; wanted 1, since {clicks.strategy} with these options makes the "
            "same clicks in every draw. For several draws choose a strategy that draws its clicks, such as paper/v1."
        )
    return clicks.model_copy(update={"options": options})


def _checked_start(start: Start, where: str) -> Start:
    """Check a start, fill in its options, and add the hash of another run's masks, so that rows record it."""
    from harness.clicks.other_masks import RESULTS, masks_of
    from harness.clicks.starts import STARTS

    if start.rule not in STARTS:
        raise UserError(f"{where}.rule: no '{start.rule}'. {messages.suggest(start.rule, STARTS)}")
    rule = STARTS[start.rule].function
    given = parameters.arguments(rule, start.rule, start.options, f"{where}.options")
    options = {key: default for key, (_, default) in parameters.parameters_of(rule).items() if default != ""} | given
    if not options.get("run"):
        return start.model_copy(update={"options": options})
    run = places.for_workers(options["run"])
    try:
        masks_of(run, *(options.get(name, "") for name in ("method", "ranking", "dataset")))
    except UserError as error:
        raise UserError(f"{where}.options: {error}") from error
    # If the other run is computed again, its masks change, and with the hash so does this run's protocol: rows that
    # began with the old masks are not mixed with new ones.
    known = {"run": str(run), "sha256": places.sha256(places.located(run) / RESULTS)}
    return start.model_copy(update={"options": options | known})


def check_takes(clicks: Clicks, method: type[Method], where: str) -> None:
    """Refuse a start that a method does not take; `where` begins the message.

    Raises:
        UserError: The method's class does not declare it in `takes`.
    """
    from harness.clicks.starts import STARTS

    if not clicks.start:
        return
    rule = STARTS[clicks.start.rule]
    if rule.gives not in method.takes:
        raise UserError(
            f"{where} is asked with clicks.start: {clicks.start.rule}, which fills in a prompt's `{rule.gives}`, "
            "which this method does not take (`takes` in its class). Give it `clicks:` of its own, or use a method "
            f"that takes it: {rule.taken_by}."
        )


def _begins_differ(clicks: Clicks) -> bool:
    """Whether prompts begin with something else in each draw."""
    from harness.clicks.starts import STARTS

    return clicks.start is not None and STARTS[clicks.start.rule].draws(clicks.start.options)


def _no_clicks(clicks: Clicks, where: str) -> Clicks:
    """A protocol without clicks. It keeps no strategy, so configs that differ only in the strategy have equal rows."""
    if clicks.draws > 1 and not _begins_differ(clicks):
        raise UserError(f"{where}.draws: found {clicks.draws}; wanted 1, since every draw is the same without clicks.")
    return Clicks(max_clicks=0, draws=clicks.draws, start=clicks.start)
