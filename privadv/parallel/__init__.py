"""One training in several processes, an accelerator each. Alone, everything here is what torch does anyway.

Every rank computes its own rows of the same joint batch. It draws the joint batch's random numbers and keeps its rows of them, so
that generators never part ways and n ranks draw what one process would; gradients, batch statistics and every number that a
decision hangs on are reduced over all ranks. What is trained does not depend on the number of ranks, up to rounding.
"""
