"""Rules in virtual time: scenario files and recorded histories run through the operator's own rule book."""
