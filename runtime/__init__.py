"""The nouns, the plug-in contracts, and the verbs that move data from sound to pictures."""
