"""Classifying many images with one model.

Enters: paths, a list, or a folder of millions. Leaves: one row per image. Called by `catseye predict`.

    answers.py      `catseye predict`, and images in memory
    paths.py        files and folders, one row per image, in order
    plan.py         a list of images divided into parts
    parts.py        one part: images in, a Parquet file out
    predict.py      `catseye predict --engine ray`
    ray_engine.py   parts computed by Ray Data
"""
