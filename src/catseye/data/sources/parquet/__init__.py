"""Arrow tables: Parquet files and saved data sets of Hugging Face.

Enters: paths. Leaves: `ImageSet`. Called by open_data.py, and by addresses/ for files at an address. pyarrow is
imported only when such a file is opened.

    arrow_columns.py  the columns of an Arrow table as a list: images in cells, class names
    parquet_files.py  Parquet files, with images in a column or beside them
    saved_datasets.py data sets that `save_to_disk` wrote
"""
