"""Stored features: arrays, npz, safetensors, parquet, folders of shards."""
