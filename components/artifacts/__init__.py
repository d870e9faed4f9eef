"""The contract between stages: digests, row schemas (parquet), shards (tar), atomic publishing."""
