"""msqnet beside small video networks, as whole processes."""
