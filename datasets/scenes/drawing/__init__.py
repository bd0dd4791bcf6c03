"""How the embedded benchmark's scenes are drawn: canvas, outlines, paints, the objects and their arrangement."""
