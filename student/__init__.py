"""Networks, span maths, losses, targets, batches and the training loop."""
