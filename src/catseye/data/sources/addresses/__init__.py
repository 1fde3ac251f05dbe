"""Lists and data sets at an address, by fsspec.

Enters: https://…, s3://…, hf://…. Leaves: `ImageSet`, whose images are fetched when they are needed. Called by
open_data.py.

    remote.py         lists at an address
    hub_sets.py       data sets of the Hugging Face Hub by name
    fetching.py       opens files at an address
"""
