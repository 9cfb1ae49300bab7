"""What is wrong with a collection of pictures: copies, labels, shortcuts, files."""
