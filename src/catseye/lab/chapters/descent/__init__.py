"""Chapter 9: what a learning rate does, on a slice of a loss landscape."""
