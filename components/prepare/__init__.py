"""Photos → LR/HR pairs: reading, splitting by source photo, cropping, degrading."""
