"""A web page and an API for one model.

The HTTP process decodes nothing and never loads torch. It owns two others: a checker, which opens
uploads, and a worker, which holds the model and runs one task at a time. If a damaged file makes
one of them hang or crash, it is killed and restarted, and only its current task fails.

    HTTP ── uploads ── checker        limits, and whether it is a video
      └──── jobs ───── worker         predictions, previews, overlays, reports, attribution maps
"""
