"""One file a table of the paper's or of ours."""
