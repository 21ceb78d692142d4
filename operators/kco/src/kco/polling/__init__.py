"""Asking applications for their state: one schedule over all instances, limits, retries, one request a poll."""
