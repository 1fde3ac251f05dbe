"""Zips and tars, read in place.

Enters: a path. Leaves: the names in it and a reader, or an `ImageSet` of WebDataset's shards. Called by open_data.py.

    archive.py        a zip; bombs are refused
    tars.py           a tar
    webdataset.py     WebDataset's shards
"""
