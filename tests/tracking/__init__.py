"""Every way to write a tracked row, on every database: what is stamped, and what is entered into the feed."""
