"""Chapter 10: a dense and a convolutional network, asked about shifted digits."""
