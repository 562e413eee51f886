"""Floor 2: looking at attention without touching it."""
