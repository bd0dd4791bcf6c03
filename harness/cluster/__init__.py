"""Runs shards and trainings on Ray; no other package imports it."""
