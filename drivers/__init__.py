"""One file for each way to get motion from sound."""
