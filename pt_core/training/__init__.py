"""Training: one loop with autocast and scaler, from a dataset to a checkpoint."""
