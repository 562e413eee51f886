"""Picture in, sentence out."""
