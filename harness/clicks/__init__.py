"""Click rules: ground truth and a seed go in, clicks come out.

One function each, registered by name and version. A rule never sees an image or a method's name: every method,
worker and resumed run gets the same clicks. Published tables rest on these rules, so a rule that changes its clicks
becomes a new version. Each family has a file: `paper` and `xu` draw prompts at random, `correction` clicks into a
prediction's errors, `robustness` moves the first click over the object, `shared` clicks into two objects at once.
All of them measure distances in exact integers (`depth`, `deepest`).
"""

from harness.clicks.depth import interior_depth
from harness.clicks.strategy import NoClickError, Situation, Strategy, click_rng, clicks_a_round

__all__ = ["NoClickError", "Situation", "Strategy", "click_rng", "clicks_a_round", "interior_depth"]
