"""What programs print, read line by line: one grammar a program, for results and for trajectories alike."""
