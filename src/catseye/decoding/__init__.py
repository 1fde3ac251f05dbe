"""What an image file says of itself before a decoder sees it, what decoding it takes, and what its pixels mean.

Enters: bytes, or an image that Pillow has decoded. Leaves: sizes and costs to decide by, 8-bit pixels, refusals that
name their cause. Called by preprocess.py, and by serving for the costs. Pillow and NumPy; no torch.

    headers.py        the first bytes of an uploaded format: its sides, and what kind of pixels
    boxed.py          HEIC and AVIF: whether they are read here, and their sides
    costs.py          the memory that decoding takes, by format and size; the limits of sides and memory
    jpegs.py          decodes a JPEG and notices one that was cut off, whatever stands at its end
    greys.py          values of 16 and 32 bits and of floating point, to 8 bits by a range
    channels.py       images of more channels than colour has: how many, and each as 8 bits
    tiff_tags.py      the tags of a TIFF, read within bounds
    tiff_planes.py    the values of a TIFF of any number of channels, by libtiff
    planes.py         every channel of such an image, upright
    upright.py        which way up an image is; reading a file
    arrays_in_files.py images in .npy files; nothing is unpickled
    colours.py        everything else to 8-bit RGB or L: transparency, palettes
    failures.py       why an image could not be decoded
    names.py          what bytes are that no decoder takes: a web page, a PDF
"""
