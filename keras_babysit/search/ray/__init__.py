"""Trials on Ray, several at a time."""
