"""The text-saliency plugins: one file a saliency."""
