"""The method plugins: one file a method."""
