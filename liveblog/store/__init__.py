"""The one floor that knows Redis: keys, scripts, and the embedded server."""
