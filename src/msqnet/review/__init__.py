"""A page to correct predictions and to annotate videos, on this machine only.

The project beside the table that is written holds every change the moment it is made:

    sources ── videos, proposals ──> project (SQLite) ──> export (the table, every format)
                                        │
                     page <── app ──────┘     media (a process that decodes and copies videos)
"""
