"""One rank of one training: examples, steps, states."""
