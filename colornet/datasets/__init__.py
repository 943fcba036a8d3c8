"""Photographs to learn from: sources, screening, shards, and the stream that trains."""
