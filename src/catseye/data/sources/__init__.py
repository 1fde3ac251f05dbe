"""DATA becomes one `ImageSet`: names, labels, splits, a reader.

Enters: a folder, a .zip, a .tar, a list, an address, the name of a built-in set, or an object that holds images.
Leaves: `ImageSet`. Files are only listed here, never moved, copied or changed. Called by `prepare.py` and `check.py`.
Imports no torch. "Side" is short for train, val or test.

    image_set.py      what all sources become; readers; constants of the sides
    open_data.py      opens DATA, whatever kind of source it is
    leftovers.py      what operating systems and tools leave in folders and zips
    image_names.py    which files are images, by suffix
    split_names.py    train, Validation_Set, seg_test …: which side a name means
    folder.py         all files below a folder
    archive.py        a zip, read in place; bombs are refused
    other_files.py    what to do with files that are no images
    own_outputs.py    runs, exports and reports of catseye inside DATA
    tree.py           the folders that hold images, with their counts
    folder_roles.py   what a folder most likely is: a split, a holder of class folders
    layout.py         which level of folders are the splits and which the classes
    layout_questions.py  the questions about a layout that can be read in two ways
    masks.py          masks beside the images that they describe are left out
    file_names.py     classes in the names of files: cat.0.jpg
    detection.py      a note on data sets with boxes
    lists_beside.py   lists that lie beside the images: named, and compared with the folders
    labelled.py       files in folders become an `ImageSet`
    columns.py        which column of a list holds files, labels, splits and groups
    listed_files.py   the files that a list refers to: other systems' paths, missing suffixes
    listed_rows.py    a list, wherever it comes from, and the cells of it that are used
    labels.py         notes on labels: empty, several in a cell, numbers
    corrections.py    decisions of people about labels, applied by the content of images
    decided_list.py   a file of such decisions as a list
    missing_labels.py images without a label: empty cells, a folder named unlabelled
    unlabelled.py     a folder whose images have no label yet
    listed_images.py  the images of a list, without labels
    table.py          a list becomes an `ImageSet`
    split_lists.py    a list in each split folder
    csv_rows.py       the rows of a .csv or .tsv
    text_rows.py      the rows of a .txt: path label
    json_lines.py     the rows of a .jsonl
    frames.py         a pandas data frame as a list
    arrow_columns.py  the columns of an Arrow table as a list: images in cells, class names
    parquet_files.py  Parquet files, with images in a column or beside them
    saved_datasets.py Hugging Face's data sets, saved by `save_to_disk`
    tars.py           tar files, read in place
    webdataset.py     WebDataset's shards
    fetching.py       opens files at an address
    hub_sets.py       data sets of the Hugging Face Hub by name
    remote.py         lists at an address, by fsspec
    given.py          objects: arrays, Pillow images, data sets of torch and Hugging Face
    image_objects.py  one image in memory as bytes or pixels
    memory_names.py   names for images that were given in Python
"""

from catseye.data.sources.folder import FolderReader as FolderReader
from catseye.data.sources.given import is_place as is_place
from catseye.data.sources.given import with_labels as with_labels
from catseye.data.sources.image_set import NOT_SPLIT as NOT_SPLIT
from catseye.data.sources.image_set import SPLIT_LABELS as SPLIT_LABELS
from catseye.data.sources.image_set import TEST as TEST
from catseye.data.sources.image_set import TRAIN as TRAIN
from catseye.data.sources.image_set import VAL as VAL
from catseye.data.sources.image_set import ArrayReader as ArrayReader
from catseye.data.sources.image_set import Corrected as Corrected
from catseye.data.sources.image_set import ImageSet as ImageSet
from catseye.data.sources.image_set import Reader as Reader
from catseye.data.sources.layout_questions import UnclearLayout as UnclearLayout
from catseye.data.sources.open_data import Images as Images
from catseye.data.sources.open_data import open_source as open_source
