"""Training a generator against a discriminator: plain PyTorch, without Ray. `jobs/train.py` puts it on workers."""
