"""Masks: cropped regions, metrics of two of them, run lengths, and what lies under a click."""
