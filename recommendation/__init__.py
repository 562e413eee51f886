"""History in, next items out: recommendation that says which past items it looked at."""
