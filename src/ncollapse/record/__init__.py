"""What a run leaves on disk: documents, tables, traces, snapshots. No torch on import."""
