"""Tables of labelled clips: reading, checking and splitting them. Nothing here imports torch."""
