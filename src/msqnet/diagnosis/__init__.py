"""What this installation can do, and what to do where it cannot: `msqnet doctor`."""
