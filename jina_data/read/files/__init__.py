"""What is done to files of all formats: decompression, detection by content, and the choice of files in folders."""
