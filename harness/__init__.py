"""Promptable instance segmentation compared: one image, one click, a few words in; one mask out."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.plugins.interfaces import Dataset, Learner, Logger, Method, Saliency
    from harness.plugins.registry import (
        register_click_rule,
        register_dataset,
        register_learner,
        register_logger,
        register_method,
        register_metric,
        register_saliency,
        register_table,
        register_text_rule,
    )
    from harness.structures import Box, Click, Instance, Prediction, Prompt, Sample, UserError

__version__ = "0.1.0"

_LIES_IN = {
    "Box": "structures",
    "Click": "structures",
    "Dataset": "plugins.interfaces",
    "Instance": "structures",
    "Learner": "plugins.interfaces",
    "Logger": "plugins.interfaces",
    "Method": "plugins.interfaces",
    "Prediction": "structures",
    "Prompt": "structures",
    "Saliency": "plugins.interfaces",
    "Sample": "structures",
    "UserError": "structures",
    "compare": "statistics.comparisons",
    "evaluate": "trying.evaluating",
    "load": "results.loading",
    "method": "trying.methods",
    "predict": "trying.session",
    "register_click_rule": "plugins.registry",
    "register_dataset": "plugins.registry",
    "register_learner": "plugins.registry",
    "register_logger": "plugins.registry",
    "register_method": "plugins.registry",
    "register_metric": "plugins.registry",
    "register_saliency": "plugins.registry",
    "register_table": "plugins.registry",
    "register_text_rule": "plugins.registry",
    "summarise": "statistics.means",
}
"""Name -> its module. A name is imported when it is first used: `import harness` alone loads nothing, so that the
command line reacts to Ctrl-C before NumPy loads, and so that workers load no pandas."""

__all__ = [
    "Box",
    "Click",
    "Dataset",
    "Instance",
    "Learner",
    "Logger",
    "Method",
    "Prediction",
    "Prompt",
    "Saliency",
    "Sample",
    "UserError",
    "compare",
    "evaluate",
    "load",
    "method",
    "predict",
    "register_click_rule",
    "register_dataset",
    "register_learner",
    "register_logger",
    "register_method",
    "register_metric",
    "register_saliency",
    "register_table",
    "register_text_rule",
    "summarise",
]


__getattr__ = imported_when_asked(__name__, _LIES_IN)
