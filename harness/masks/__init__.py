"""Masks: crops, metrics of two of them, run lengths, what lies under a click."""
