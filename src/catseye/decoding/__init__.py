"""Image files before, during and after decoding: headers, costs, pixels, errors.

Enters: bytes, or an image that Pillow has decoded. Leaves: sizes and memory costs, 8-bit pixels, errors that name
their cause. Called by preprocess.py, and by serving for the costs. Pillow and NumPy; no torch.

    headers.py        sides and kind of pixels, from the first bytes of an uploaded file
    boxed.py          HEIC and AVIF: whether they can be read here, and their sides
    costs.py          the memory that decoding takes, by format and size; the limits of sides and memory
    jpegs.py          decodes a JPEG and detects one that was cut off, whatever its last bytes are
    greys.py          16-bit, 32-bit and floating-point values to 8 bits, by a range
    channels.py       images with more channels than colour: how many, and each as 8 bits
    tiff_tags.py      the tags of a TIFF, read within bounds
    tiff_planes.py    the values of a TIFF with any number of channels, by libtiff
    planes.py         every channel of such an image, upright
    upright.py        which way up an image is; reading a file
    arrays_in_files.py images in .npy files; nothing is unpickled
    colours.py        everything else to 8-bit RGB or L: transparency, palettes
    failures.py       why an image could not be decoded
    names.py          what a file is that no decoder accepts: a web page, a PDF
"""
