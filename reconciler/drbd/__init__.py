"""DRBD as the engine of a mirrored disk: its words in ours, and what it must ask before it goes on.

Pure: text and state in, text and questions out. `adapters.linux.drbd` runs the programs. Standard
library only. Versions 8.4 and 9.
"""
