"""What a first run needs and nobody should have to download: images to label."""
