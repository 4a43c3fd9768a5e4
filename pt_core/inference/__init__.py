"""Loading an artifact of any format and turning its logits into answers."""
