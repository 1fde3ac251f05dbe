"""Files that put catseye to work elsewhere, rendered by `catseye deploy`."""
