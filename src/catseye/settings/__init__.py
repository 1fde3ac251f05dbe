"""Everything that decides what a run computes.

Enters: a recipe, a TOML file, `--set` overrides. Leaves: one frozen `Settings`. Called by cli and training.

    schema.py   every setting with its range and meaning, and which make others idle
    merge.py    recipe < file < --set, checked, the nearest key suggested; and back to TOML
    durations.py  90s, 10m, 1h
    promise.py    what goes together with --time
    recipes/    the recipes that come with catseye
"""
