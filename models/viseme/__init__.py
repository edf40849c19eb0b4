"""The viseme network: from sound to the phones that a mouth shows, 50 times a second."""
