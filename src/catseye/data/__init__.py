"""From the user's pictures to batches: sources, checks, splits, loaders, augmentation, mixing."""
