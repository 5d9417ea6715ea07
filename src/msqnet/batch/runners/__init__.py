"""Where the work of a batch run is done: in this process, in several, or on a Ray cluster."""
