"""What several of the numbered scripts share."""
