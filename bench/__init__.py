"""Programs that measure what the package claims; each prints a table and says if a claim fails."""
