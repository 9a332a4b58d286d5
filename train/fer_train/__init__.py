"""Training of expression networks on FER2013: data, networks, fitting, evaluation.

Imports of Keras and a backend stay inside the modules that train; :mod:`fer_train.fer2013` needs only the base install.
"""
