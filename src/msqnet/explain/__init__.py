"""Attribution maps, and what embeddings tell apart: arrays and numbers, no drawing."""
