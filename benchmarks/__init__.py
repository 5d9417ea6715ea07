"""Scripts and measurements; not part of the package."""
