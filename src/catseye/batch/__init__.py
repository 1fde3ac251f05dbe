"""Millions of pictures: work cut into parts, done by an existing engine, resumable to the part."""
