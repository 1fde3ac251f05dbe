"""Sphinx's settings.

Pages load nothing from other hosts: the theme uses the reader's fonts, and the search runs in the page.
"""

import re
from pathlib import Path

_PACKAGE = Path(__file__).parents[2] / "src" / "catseye" / "__init__.py"

project = "catseye"
author = "the catseye authors"
copyright = "the catseye authors, Apache-2.0"
version = release = re.search(r'^__version__ = "(.+)"', _PACKAGE.read_text(), re.MULTILINE)[1]  # type: ignore[index]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["files"]

# Links to headings work as on the code host.
myst_heading_anchors = 4
# Text of a terminal or program that a lexer cannot parse (an ellipsis in JSON) is not a fault.
suppress_warnings = ["misc.highlighting_failure"]
nitpicky = True
smartquotes = False  # "--flag" must stay unchanged

html_theme = "furo"
html_title = f"catseye {version}"
html_static_path = [str(Path(__file__).parent / "theme")]
html_css_files = ["site.css"]
html_favicon = str(_PACKAGE.parent / "serving" / "static" / "icon.svg")
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": [], "navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "github-dark"
