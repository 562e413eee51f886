"""Floor 1: what attention computes, in keras.ops alone."""
