"""One evaluation for every artifact: accuracy, robustness, parity, efficiency."""
