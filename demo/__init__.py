"""The demo, `make demo`: train on shapes, colorize a small archive of photographs, say where to look."""
