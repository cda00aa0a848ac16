"""Protocols to the outside. Cores and driver are written against these; shells implement them."""
