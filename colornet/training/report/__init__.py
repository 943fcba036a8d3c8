"""What people look at during a training run and after it.

Panels of held-out photographs, the plot of the losses, the table of all numbers, a page with all of it, and files for
TensorBoard. All are made of plain data: the history, a list with one mapping an epoch under the names of the
trainer. What an epoch did not record, or recorded as NaN, is left out of what is drawn.
"""

from colornet.training.report.curves import PLOT_SIZE, plot
from colornet.training.report.history import table
from colornet.training.report.page import page
from colornet.training.report.panels import CELL, COLUMNS, GAP, HEADER, panel
from colornet.training.report.tensorboard import EventFile

__all__ = ["CELL", "COLUMNS", "GAP", "HEADER", "PLOT_SIZE", "EventFile", "page", "panel", "plot", "table"]
