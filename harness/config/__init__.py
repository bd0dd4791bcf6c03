"""Reads a YAML file into a checked run or recipe before anything is computed."""
