"""Networks and parametric models: arrays in, arrays out. No clocks, no frames, no command line."""
