"""Watching runs while they train: a page in the browser, or lines in a terminal."""
