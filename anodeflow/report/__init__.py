"""A finished study as one HTML page that opens from disk and asks no network for anything."""
