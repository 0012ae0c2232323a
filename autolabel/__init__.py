"""Label an image dataset with SAM3: from a bucket of images to RLE masks in Parquet and COCO."""

__version__ = "0.1.0"
