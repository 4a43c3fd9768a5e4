"""From reports to a verdict, a choice and a comparison: pure functions."""
