"""The agent beside the guests: journal, convergence, facts. It has no database and is told everything."""
