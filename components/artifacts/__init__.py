"""The contract between stages: typed documents, row schemas (parquet), shards (tar), and where they lie."""
