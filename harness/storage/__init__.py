"""A run's folder: its one writer, its files, and the proof that it is whole."""
