"""Motion of one expression basis on a head of another: how the map is found, kept and used. See docs/bases.md."""
