"""Processes, devices and host memory."""
