"""The networks. Every one has `features(x)` -> (N, C, h, w) and `head(f)` -> (N, K); see `registry.py`."""
