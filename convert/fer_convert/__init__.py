"""Conversion: a trained Keras model becomes a small, self-describing TFLite file that has kept its accuracy."""
