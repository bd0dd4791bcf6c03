"""Evaluates one shard in one process: images in, rows out; no Ray, no disk."""
