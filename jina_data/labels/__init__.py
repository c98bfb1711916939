"""Labels of rows by people: samples, storage in the run folder, and estimates of precision and recall."""
