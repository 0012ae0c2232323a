"""Step 5 of 7, select: which of the model's instances are labels, and what several looks at an image make of one."""
