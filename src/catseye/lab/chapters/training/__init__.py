"""Chapter 6: a training run, watched."""
