"""Comparing renderers, drivers and settings under the same sound, motion, camera and clock."""
