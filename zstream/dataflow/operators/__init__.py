"""One class an operator; the contract kit runs each."""
