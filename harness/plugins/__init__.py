"""What plugins promise, and how they are found by name, checked and built."""
