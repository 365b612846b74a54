"""From files to records, and from the values of a record to text and conversations."""
