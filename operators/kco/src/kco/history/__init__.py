"""What was seen, kept: states as they changed, decisions as they fell, for `kco history` and `kco replay`."""
