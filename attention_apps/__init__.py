"""Attention for Keras: mechanisms that compose, maps that can be seen, measured and served."""
