"""What the layers of an artifact compute, one file per format that can be opened."""
