"""Figures and pages that more than one application draws."""
