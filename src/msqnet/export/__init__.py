"""Models as graphs that other runtimes compute, checked against PyTorch when they are written."""
