"""Answering for many rows with one artifact: any number of them, in constant memory, resumable."""
