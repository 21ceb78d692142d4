"""What kubectl's tables show of each built-in kind: columns.json names the columns, small functions make the
cells that are more than one field."""
