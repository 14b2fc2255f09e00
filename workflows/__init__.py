"""Work: method cards, engines, studies, local execution and the results store."""
