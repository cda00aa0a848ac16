"""What users get to test their own topologies."""
