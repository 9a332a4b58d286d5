"""Training on FER2013: data, networks, fitting, evaluation."""
