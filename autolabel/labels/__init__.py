"""Step 6 of 7, store: the labels of images in memory, and as `labels/00000012.parquet`."""
