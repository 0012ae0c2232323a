"""Masks as run lengths: counted, compared, drawn and written in other forms. No pixel is decoded that need not be."""
