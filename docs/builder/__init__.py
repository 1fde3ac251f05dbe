"""The documents as a static site: `make docs`, or `python -m docs.builder` where the extra `docs` is installed.

    navigation.py         which page stands where
    stage.py              the documents, copied to a folder of their own, their links mended
    command_reference.py  what `--help` says, as pages
    api_reference.py      what the docstrings say, as pages
    benchmark_pages.py    benchmarks/results/*.json as pages
    conf.py               Sphinx, MyST (Markdown) and Furo (the theme)
    links.py              every link and anchor of the built pages; nothing is loaded from another host
    build.py              the walk through all of these

Pages that are made here are made anew at every build and never committed. Nothing here imports torch or asks the
network.
"""
