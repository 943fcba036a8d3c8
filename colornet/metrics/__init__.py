"""Metrics of pictures: tensors in, one number a picture or a pixel out.

Training measures its held-out photographs with them, and `colornet.evaluation` all that a colorizer is compared by.
"""
