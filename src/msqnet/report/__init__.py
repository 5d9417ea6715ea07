"""Pictures, annotated videos and pages made of what models say. Draws; computes nothing new."""
