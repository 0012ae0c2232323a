"""Step 7 of 7, use: which images a person should look at first, and why."""
