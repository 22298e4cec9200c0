"""Helpers that have nothing to do with segmentation."""
