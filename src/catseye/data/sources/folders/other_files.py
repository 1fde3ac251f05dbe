"""Files that are no images here, and how to make images of them.

Enters: how many files of DATA have each suffix. Leaves: a sentence. Called by labelled.py if there are no images.
"""

from collections import Counter

_ADVICE = {
    "unpack the archives": ".zip .7z .rar .tar .gz .tgz .bz2",
    "convert DICOM files to PNG or TIFF of 16 bits": ".dcm .dicom",
    "write slices of volumes as PNG or TIFF of 16 bits": ".nii .nrrd .mha .mhd",
    "convert raw photos to JPEG or TIFF": ".nef .cr2 .cr3 .arw .dng .raf .orf .rw2",
    "extract frames from the videos": ".mp4 .mov .avi .mkv .webm .m4v",
    "render drawings as PNG": ".svg .pdf .eps .ai .psd .xcf",
    "load arrays in Python and use catseye.train(images, labels)": ".npz .mat .h5 .hdf5 .pkl .pickle .pt .idx",
    "write TFRecords as image files in class folders": ".tfrec .tfrecord .tfrecords",
    "give image files their suffix, as .jpg": "",
}
_MOST = 4  # suffixes that are named


def describe_other_files(suffixes: Counter[str]) -> str:
    """Which files there are instead of images, and what to do with them.

    >>> describe_other_files(Counter({".dcm": 40, ".txt": 1}))
    'its files are: 40 .dcm, 1 .txt; convert DICOM files to PNG or TIFF of 16 bits'
    """
    common = suffixes.most_common(_MOST)
    listed = ", ".join(f"{num:,} {suffix or 'without a suffix'}" for suffix, num in common)
    advice = [do for do, kinds in _ADVICE.items() if any(suffix in (kinds.split() or [""]) for suffix, _ in common)]
    return "; ".join([f"its files are: {listed}", *advice[:2]])
