"""Class folders and splits: which folder is what.

Enters: the names of all files and folders of DATA, on a disk, in a zip or in a tar. Leaves: `ImageSet`. Called by
open_data.py through labelled.py.

    labelled.py       files in folders become an `ImageSet`
    tree.py           the folders that hold images, with their counts
    folder_roles.py   what a folder most likely is: a split, a holder of class folders
    layout.py         which level of folders are the splits and which the classes
    layout_questions.py  the questions about a layout that can be read in two ways
    masks.py          masks beside the images that they describe are left out
    file_names.py     classes in the names of files: cat.0.jpg
    own_outputs.py    runs, exports and reports of catseye inside DATA
    detection.py      a note on data sets with boxes
    lists_beside.py   lists that lie beside the images: named, and compared with the folders
    other_files.py    what to do with files that are no images
"""
