"""Pictures that show the same: copies of each other, however resized, compressed or cropped."""
