"""`python -m dcim.app` is `dcim`."""

from dcim.app.cli import main

main()
