"""Ray: where it is, what it can hold, and what runs on it. No other package imports it."""
