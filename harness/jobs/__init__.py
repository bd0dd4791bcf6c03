"""Cuts a run into jobs and shards, and works through a shard."""
