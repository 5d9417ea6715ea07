"""A web page and an API around one model: uploads in, predictions, pictures and reports out.

The process that speaks HTTP decodes nothing and never loads torch. It owns two others: a checker,
which opens uploads, and a worker, which holds the model and does one thing after the other. A
damaged file may make either of them hang or crash; the process is then killed and started anew, and
only what it was doing fails.

    HTTP ── uploads ── checker        limits, and whether it is a video at all
      └──── jobs ───── worker         predictions, previews, overlays, reports, heat maps
"""
