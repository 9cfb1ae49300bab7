"""Networks of Keras Applications, as PyTorch networks."""
