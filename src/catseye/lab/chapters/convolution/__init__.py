"""Chapter 2: a kernel slides over the image."""
