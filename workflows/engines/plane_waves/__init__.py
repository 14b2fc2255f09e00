"""What the plane-wave codes share: the meaning of a card for a cell, and what it costs."""
