"""Federated learning in which nobody has to be trusted."""
