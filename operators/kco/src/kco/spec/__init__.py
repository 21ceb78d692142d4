"""What a TargetApp says: its fields, its GraphQL document, and what a schema proves about its triggers."""
