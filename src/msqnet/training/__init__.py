"""From a table of labelled clips to a finished model folder."""
