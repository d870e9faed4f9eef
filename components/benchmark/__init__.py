"""Any number of models on the field's public test sets, in the papers' layout, beside the published figures."""
