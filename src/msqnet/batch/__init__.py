"""Many videos at once: a work list, resumable runs in processes or on a Ray cluster, one data set.

One plain function, `msqnet.batch.one_video.process_video`, does the work of one video wherever it
runs. What it writes is a pure function of the video, the model and the settings, so a run that was
killed is simply started again.
"""
