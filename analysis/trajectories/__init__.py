"""Reading trajectories of any code in linear time and bounded memory."""
