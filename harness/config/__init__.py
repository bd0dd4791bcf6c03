"""Reads a YAML file into a checked run or recipe before anything is computed."""

from harness.config.recipe import Recipe, load_recipe
from harness.config.run_config import RunConfig, load_run

__all__ = ["Recipe", "RunConfig", "load_recipe", "load_run"]
