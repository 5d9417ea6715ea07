"""Reading video: exact frames by time or index, windows, pixel transforms, and motion crops."""
