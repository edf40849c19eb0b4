"""Sound in: reading files as streams, checking them, and bringing them to the rate that models want."""
