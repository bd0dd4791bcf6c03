"""Reads a YAML file into a checked run or recipe before anything is computed.

A run may take hours on a cluster, so every mistake that a config can have is found before the first worker starts:

    text    -> mapping     yaml_file.read: valid YAML, no key twice
    mapping -> mapping     --set, recipes in place of their paths
    mapping -> model       yaml_file.validated: known keys, types, ranges
    model   -> RunConfig   run_config.load_run: plugins exist and take their parameters, labels are unique, methods can
                           answer the prompts that they will get
"""

from harness.config.recipe import Recipe, load_recipe
from harness.config.run_config import RunConfig, load_run

__all__ = ["Recipe", "RunConfig", "load_recipe", "load_run"]
