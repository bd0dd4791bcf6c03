"""Cuts a run into jobs and shards, and works through a shard."""

from harness.jobs.jobs import Job, Shard
from harness.jobs.plan import planned, remaining

__all__ = ["Job", "Shard", "planned", "remaining"]
