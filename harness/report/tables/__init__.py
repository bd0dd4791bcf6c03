"""The tables, the paper's and ours, each in a file."""
