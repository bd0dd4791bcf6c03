"""Loggers that come with the harness: each sends a run's numbers to another program."""
