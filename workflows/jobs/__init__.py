"""Jobs: a calculation, a band, a segment of dynamics; recognised if they are done already."""
