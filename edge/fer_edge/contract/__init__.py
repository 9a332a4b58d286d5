"""What all three rooms agree on: labels, preprocessing, the model card and how a model file is read.

The device owns the contract because it has the fewest dependencies; training and conversion import it, and nothing else
of the runtime.
"""
