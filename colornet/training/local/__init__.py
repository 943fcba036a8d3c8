"""Training on one machine without Ray: the same trainer, photographs and losses, in a process or a few."""
