"""Everything that decides what a run computes.

Enters: a recipe, a TOML file, `--set` overrides. Leaves: one frozen `Settings`. Called by cli and training.

    schema.py   every setting with its range and meaning, and which make others idle
    merge.py    recipe < file < --set, checked, the nearest key suggested; and back to TOML
    code_names.py  what code is called in a run folder
    reading.py  how DATA is read, as options
    promise.py  what goes together with --time
    listing.py  every setting as a row: default, range, meaning
    typed.py    durations and shapes as they are typed
    recipes/    the recipes that come with catseye
"""
