"""Click simulators: ground truth and a seed go in, clicks come out.

One function each, registered by name and version. A strategy never sees an image or a method's name: every method,
worker and resumed run gets the same clicks. Published tables rest on these rules, so a rule that changes its clicks
becomes a new version. One file a family: `paper` and `xu` draw prompts at random, `correction` clicks into a
prediction's errors, `robustness` moves the first click over the object. All of them measure distances in exact integers
(`depth`, `deepest`).
"""

import importlib
import pkgutil

from harness.clicks.correction import center, ritm, sam
from harness.clicks.deepest import Deepest, deepest
from harness.clicks.depth import interior_depth, squared_depth
from harness.clicks.paper import interior, prompt
from harness.clicks.robustness import grid, rclicks
from harness.clicks.strategy import STRATEGIES, NoClickError, Situation, Strategy, click_rng, clicks_a_round, strategy
from harness.clicks.xu import xu

__all__ = [
    "STRATEGIES",
    "Deepest",
    "NoClickError",
    "Situation",
    "Strategy",
    "center",
    "click_rng",
    "clicks_a_round",
    "deepest",
    "grid",
    "interior",
    "interior_depth",
    "prompt",
    "rclicks",
    "ritm",
    "sam",
    "squared_depth",
    "strategy",
    "xu",
]

for _found in pkgutil.iter_modules(__path__):  # A rule in a file of one's own is known by being there.
    importlib.import_module(f"{__name__}.{_found.name}")
