"""Everything that decides what a run computes.

Enters: a recipe, a TOML file, `--set` overrides. Leaves: one frozen `Settings`. Called by cli and training.

    schema.py   every setting with its range and meaning, and which ones make others have no effect
    merge.py    recipe < file < --set, checked, the nearest key suggested; and back to TOML
    code_names.py  import paths, by which a run folder names code
    reading.py  how DATA is read, as options
    promise.py  what can be combined with --time
    listing.py  every setting as a row: default, range, meaning
    typed.py    durations, trackers and shapes, read from text
    recipes/    the recipes that come with catseye
"""
