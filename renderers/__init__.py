"""One file for each way to get pictures from motion."""
