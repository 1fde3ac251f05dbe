"""Chapter 8: from LeNet-5 to ConvNeXt."""
