"""One shard in one process: pictures in, rows out. It knows no Ray and no disk."""
