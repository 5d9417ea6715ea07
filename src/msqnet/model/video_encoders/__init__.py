"""One file a video encoder; each turns uint8 frames into a frame memory."""
