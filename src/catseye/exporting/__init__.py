"""From a run to a file that runs elsewhere, and the proof that the two answer alike."""
