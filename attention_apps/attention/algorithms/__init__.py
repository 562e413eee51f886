"""How weights and context are computed, one algorithm a file."""
