"""Several models as one that predicts their mean."""
