"""What plugins promise, how they are found by name, checked and built."""
