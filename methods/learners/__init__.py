"""The learner plugins: what trains a checkpoint, one file a network."""
