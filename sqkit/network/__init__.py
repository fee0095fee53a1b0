"""Diffusion without a user in sight: branching processes, the Bass model, cascades over a contact network."""
