"""What a trained model is worth: one pass to logits, metrics from them, a report of those."""
