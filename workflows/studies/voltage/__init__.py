"""Voltages of anodes that take up lithium."""
