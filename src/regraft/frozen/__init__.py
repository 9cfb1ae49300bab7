"""The frozen pass: engines, the pipeline around them, and the store of what they gave."""
