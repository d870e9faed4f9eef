"""New LR images from S3 into the dataset; what cannot be used into quarantine."""
