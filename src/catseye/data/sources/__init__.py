"""What the user calls DATA becomes one `ImageSet`: names, labels, sides and a way to read each image.

Enters: a folder, a .zip, a .tar, a list, an address, the name of a built-in set, or an object that holds images.
Leaves: `ImageSet`. Files are only listed here, never moved, copied or rewritten. Called by `prepare.py` and `check.py`.
No torch.

    image_set.py      what all sources become; sides; readers
    open_data.py      which kind of source it is
    leftovers.py      what operating systems and tools leave in folders and zips: one list
    image_names.py    which files are images: by suffix; arrays only where there are no others
    split_names.py    train, Validation_Set, seg_test …: which side a name means
    folder.py         all files below a folder, links followed
    archive.py        entries of a zip, as odd as zips are; bombs refused
    own_outputs.py    runs, exports and reports of catseye inside DATA
    tree.py           the folders that hold images, with their counts
    layout.py         which level of folders are the splits and which the classes, or the question
    file_names.py     classes in the names of files: cat.0.jpg
    detection.py      sets with boxes in their images, which are for another task
    labelled.py       names, classes and sides once the layout is known
    columns.py        which column of a list names files, which labels, splits, groups
    listed_files.py   the files that a list means: other systems' paths, missing suffixes
    labels.py         what is odd about labels: empty, several in a cell, numbers
    corrections.py    decisions of people about labels: read, and applied by content
    missing_labels.py images that DATA lists without a label: empty cells, a folder named unlabelled
    unlabelled.py     a folder whose images have no label yet
    table.py          a list becomes an `ImageSet`: the contract of all lists, and CSV
    json_lines.py     the same as JSON Lines
    frames.py         a pandas data frame as such a list
    arrow_columns.py  the columns of a table: images in cells, labels by name or number
    parquet_files.py  Parquet, with images in a column or beside the list
    saved_datasets.py Hugging Face's data sets on disk
    tars.py           a tar of class folders; WebDataset's shards
    fetching.py       opens files at an address at any place
    hub_sets.py       data sets of the Hugging Face Hub by name
    remote.py         lists at an address, by fsspec
    given.py          arrays, Pillow images, data sets of torch and Hugging Face
"""

from catseye.data.sources.folder import FolderReader as FolderReader
from catseye.data.sources.given import is_place as is_place
from catseye.data.sources.given import kept as kept
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
from catseye.data.sources.layout import UnclearLayout as UnclearLayout
from catseye.data.sources.open_data import Images as Images
from catseye.data.sources.open_data import open_source as open_source
