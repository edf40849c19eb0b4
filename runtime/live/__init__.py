"""Live: one clock for sound and picture, speech that can be interrupted, and nothing that waits for a late frame."""
