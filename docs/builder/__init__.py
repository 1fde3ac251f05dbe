"""The documents as a static site: `make docs`, or `python -m docs.builder`.

    navigation.py         the order of the pages
    stage.py              the documents, copied to another folder with links rewritten
    command_reference.py  pages from `--help`
    api_reference.py      pages from docstrings
    benchmark_pages.py    pages from benchmarks/results/*.json
    conf.py               settings of Sphinx, MyST (Markdown) and Furo (the theme)
    links.py              checks of every link and anchor of the built pages
    build.py              runs all of these

It needs the extra `docs`. Generated pages are written at every build and never committed. Nothing here imports torch or
uses the network.
"""
