"""One file for each source of samples."""
