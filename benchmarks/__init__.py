"""The figures that the project publishes, and what makes and shows them."""
