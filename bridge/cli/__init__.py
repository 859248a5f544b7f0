"""The command line: `root` is the way in, and there is one file for each command group."""
