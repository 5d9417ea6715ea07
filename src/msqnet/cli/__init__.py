"""The command line: the only part that prints, configures logging and chooses exit codes."""
