"""Ways to INT8, one file each."""
