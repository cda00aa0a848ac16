"""How each peer does a job: a program that is given a case and prints one JSON object."""
