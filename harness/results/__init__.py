"""Reads a finished run from its folder alone."""
