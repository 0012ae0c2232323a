"""Step 1 of 7, list: from `input.uri` to the images that are there."""
