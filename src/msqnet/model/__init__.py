"""The method: configuration, encoders, decoder, heads and the model itself."""
