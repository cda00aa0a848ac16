"""Frozen values that every room shares. Nothing here does anything but hold and compare."""
