"""Chapter 1: an image is a table of numbers."""
