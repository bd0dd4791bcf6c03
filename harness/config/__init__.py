"""A YAML file -> a checked run or recipe, whole, before anything is computed."""
