"""Where in a picture a network sees its answer, and what such a map is worth."""
