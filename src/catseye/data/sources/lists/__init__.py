"""Lists of images with their labels: .csv, .tsv, .jsonl, .txt, data frames.

Enters: a list and the folder in which it is. Leaves: `ImageSet`, or the images alone. Called by open_data.py; what
reads Parquet files, addresses and folders uses its parts.

    table.py          a list becomes an `ImageSet`
    columns.py        which column of a list holds files, labels, splits and groups
    listed_files.py   the files that a list refers to: other systems' paths, missing suffixes
    listed_rows.py    a list, wherever it comes from, and the cells of it that are used
    listed_images.py  the images of a list, without labels
    labels.py         notes on labels: empty, several in a cell, numbers
    decided_list.py   a file of corrections as a list
    split_lists.py    a list in each split folder
    csv_rows.py       the rows of a .csv or .tsv
    text_rows.py      the rows of a .txt: path label
    json_lines.py     the rows of a .jsonl
    frames.py         a pandas data frame as a list
"""
