"""Putting labels right: the page that asks a person, and the file of what was decided.

Enters: a run or DATA. Leaves: corrections.csv, which `catseye train --corrections` applies. `catseye review`,
`catseye label`; on loopback only. Only the cli imports it.

    log.py          the file of decisions: appended, synced, held against a second page
"""
