"""A run's config -> jobs -> shards -> a worker's outcomes."""
