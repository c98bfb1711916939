"""Run folders, shared by all commands: files, lock, event log, resuming, memory."""
