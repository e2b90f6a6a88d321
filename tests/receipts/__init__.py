"""The receipt format, as the independent verifier reads it."""
