"""Measured, with its spread: latency, quality, energy, and the device they hold for."""
