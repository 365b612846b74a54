"""What losses and measures say of the arms: curves, comparisons, sudden drops and predictions."""
