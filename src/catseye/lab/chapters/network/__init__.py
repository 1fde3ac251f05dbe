"""Chapter 4: every layer of a whole network."""
