"""The chapters, one folder each: `answers.py` (what the page may ask), `page.html`, `script.js`, `sketch.svg`, and
`maths.py` where the chapter has mathematics of its own. `table.py` lists them in order.
"""
