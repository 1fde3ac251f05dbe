"""How weights are found. `fit.py` has the epochs, `step.py` the step; recipes/*.toml the settings that work."""
