"""Chapter 10: a dense network and a convolutional one, asked about shifted digits."""
