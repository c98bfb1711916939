"""Run the command line: python -m jina_data."""

from jina_data.cli import main

main()
