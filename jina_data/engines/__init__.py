"""Where the units of a run are worked on."""
