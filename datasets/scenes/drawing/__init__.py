"""Draws the embedded benchmark's scenes: canvas, outlines, paints, the objects and their arrangement."""
