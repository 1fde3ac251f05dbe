"""Chapter 7: what may change without changing the label."""
