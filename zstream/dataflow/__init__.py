"""PURE per batch. Computes: batches in, batches out; links and migration."""
