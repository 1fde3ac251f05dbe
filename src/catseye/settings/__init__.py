"""Everything that decides what a run computes.

Enters: a recipe, a TOML file, `--set` overrides. Leaves: one frozen `Settings`. Called by cli and training.

    schema.py   every setting with its range and meaning, and which make others idle
    merge.py    recipe < file < --set, checked, the nearest key suggested; and back to TOML
    reading.py  how DATA is read, as options
    recipes/    the recipes that come with catseye
"""
