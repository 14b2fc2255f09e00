"""Readers of structure files: each turns the text of one file into one crystal, or says why it cannot."""
