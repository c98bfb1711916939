"""What every run folder shares: files, lock, events, resume, memory."""
