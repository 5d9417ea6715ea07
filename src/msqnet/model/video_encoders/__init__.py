"""Video encoders: clips in, frame memory out; `msqnet.model.registry` lists them."""
