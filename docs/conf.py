"""Sphinx configuration: the reference is built from the docstrings."""

from importlib.metadata import version as installed_version

project = "sparsewire"
author = "The sparsewire developers"
project_copyright = f"2026, {author}"
release = version = installed_version("sparsewire")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"

napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_typehints = "none"  # the docstrings name the types, with shapes
# Attributes that are properties, too, would otherwise be described twice.
napoleon_use_ivar = True
