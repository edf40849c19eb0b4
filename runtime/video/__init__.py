"""Pictures and sound into files, and back: sinks, the mark of what is synthetic, and a probe."""
