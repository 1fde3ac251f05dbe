"""The chapters, one folder each; `table.py` lists them in order.

A folder holds `answers.py` (what the page may ask), `page.html`, `script.js`, `sketch.svg`, and `maths.py` if the
chapter has mathematics of its own.
"""
