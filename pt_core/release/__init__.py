"""What ships: a judged artifact with its verdict, lineage and model card, in one signed bundle."""
