"""DATA becomes one `ImageSet`: names, labels, splits, a reader.

Enters: a folder, a .zip, a .tar, a list, an address, the name of a built-in set, or an object that holds images.
Leaves: `ImageSet`. Files are only listed here, never moved, copied or changed. Called by `prepare.py` and `check.py`.
Imports no torch. "Side" is short for train, val or test.

    open_data.py      opens DATA, whatever kind of source it is
    image_set.py      what all sources become; readers; constants of the sides
    folders/          class folders and splits, on a disk, in a zip or in a tar
    lists/            .csv, .tsv, .jsonl, .txt, data frames
    archives/         zips, tars, WebDataset's shards
    parquet/          Parquet files and saved data sets of Hugging Face
    addresses/        lists and data sets at an address, and on the Hugging Face Hub
    folder.py         all files below a folder, and their reader
    leftovers.py      what operating systems and tools leave in folders and zips
    image_names.py    which files are images, by suffix
    split_names.py    train, Validation_Set, seg_test …: which side a name means
    corrections.py    decisions of people about labels, applied by the content of images
    missing_labels.py images without a label: empty cells, a folder named unlabelled
    unlabelled.py     a folder whose images have no label yet
    given.py          objects: arrays, Pillow images, data sets of torch and Hugging Face
    image_objects.py  one image in memory as bytes or pixels
    memory_names.py   names for images that were given in Python
"""

from catseye.data.sources.folder import FolderReader as FolderReader
from catseye.data.sources.folders.layout_questions import UnclearLayout as UnclearLayout
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
from catseye.data.sources.open_data import Images as Images
from catseye.data.sources.open_data import open_source as open_source
