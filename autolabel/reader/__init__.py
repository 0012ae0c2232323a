"""Step 7 of 7, use: `autolabel.Labels`, an output as a notebook or a script sees it."""
