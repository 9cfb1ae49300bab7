"""One self-contained HTML page about a model: what it can do, why, and what it looks at."""
