"""Research notebooks and playbook for private-domain community operations.

Importing the package imports nothing heavy: take what you need from its modules,
for example ``from sqkit import kpi``.
"""

__version__ = "0.1.0"
