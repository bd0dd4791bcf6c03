"""Plugins of our own for text-click-harness."""
