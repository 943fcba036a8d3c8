"""What an output says of itself: in XMP, and signed as C2PA."""
