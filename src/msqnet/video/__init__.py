"""Reading video: exact frames by time or index, sampling, pixel transforms, and what moves."""
