"""Avatars from other systems' folders: what a folder is, what it lacks, whether it fits, where it goes, what leaves."""
