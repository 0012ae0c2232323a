"""What to look for: categories with their phrases, and exemplar boxes; read, checked, and told by image."""
