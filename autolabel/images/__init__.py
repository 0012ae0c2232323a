"""Step 3 of 7, load: the bytes of an image file -> RGB pixels, or `RejectedImage`."""
