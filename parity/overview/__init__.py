"""The report of everything: checks of all networks, planted bugs, trainings and throughput, as one page of HTML."""
