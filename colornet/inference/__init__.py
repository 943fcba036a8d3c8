"""A trained generator at work: the bundle on disk, what it sees of a scan, and its predictions."""
