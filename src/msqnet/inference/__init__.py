"""From a video file to `VideoPredictions`: windows, scores, timeline, segments."""
