"""Transcripts of the control core."""
