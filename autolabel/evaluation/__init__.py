"""How good labels are, against a ground truth."""
