"""Many images through one model.

Enters: paths, a list, or a folder of millions. Leaves: one row per image. Called by `catseye predict`.

    answers.py      the walk behind `catseye predict`, and images that a program has in hand
    paths.py        files and folders, one row per image, in order
    plan.py         a list cut into parts, and which of them are done
    parts.py        one part: images in, a Parquet file out
    predict.py      the walk behind `catseye predict --engine ray`
    ray_engine.py   parts computed by Ray Data
"""
