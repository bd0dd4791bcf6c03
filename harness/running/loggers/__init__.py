"""Loggers that come with the harness: each tells a run's rows and its end to another program."""
