"""Members of an ensemble: trained, or gathered during one training run."""
