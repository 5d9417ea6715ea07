"""Data sets as their authors distribute them, read into rows of the standard table.

They are formats that are only read, from annotation files alone: videos need not be there yet. The
labels of data sets whose files carry no list of them stand beside the modules, in the official
order.
"""
