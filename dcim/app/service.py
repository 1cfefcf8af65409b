"""The service's loops."""
