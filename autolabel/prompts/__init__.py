"""Prompts: categories with their phrases, and exemplar boxes; read, checked, and given to the images they are for."""
