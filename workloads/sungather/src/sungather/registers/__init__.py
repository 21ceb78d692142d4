"""What the inverter can be asked, and what its words mean.

catalogue (the data files) -> selection (for one model and level) -> plan (which reads) -> decoding (words to values).
"""
