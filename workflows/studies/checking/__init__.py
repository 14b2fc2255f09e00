"""Results of any study checked by an engine with electrons."""
