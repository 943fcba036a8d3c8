"""One module a container: metadata found in its bytes, and put into them."""
