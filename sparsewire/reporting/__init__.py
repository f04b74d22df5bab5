"""What more than one application reports with: figures, pages, and the manners of a command."""
