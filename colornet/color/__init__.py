"""Colour: CIE-LAB on tensors, and the sRGB transfer with its L* tables on arrays."""
