"""The command line: what all commands share, and the command for single photographs."""
