"""Lip sync, measured: speech with known phones, and how well a driver's lips follow it."""
