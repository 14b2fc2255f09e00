"""Studies on a cluster: FireWorks, queues, recovery."""
