"""A run's folder: who writes, what is written, and the proof that it is whole."""
