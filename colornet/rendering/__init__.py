"""The finished scan: predicted colour joined to the scan's own lightness."""
