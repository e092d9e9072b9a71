"""What the project's notebooks and utils.py stand on."""
