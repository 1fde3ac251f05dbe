"""Chapter 3: batch norm, activation, pooling."""
