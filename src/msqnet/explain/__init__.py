"""Where a model looked, and what its embeddings tell apart: arrays and numbers, no drawing."""
