"""Chapter 5: why deep networks need skips."""
