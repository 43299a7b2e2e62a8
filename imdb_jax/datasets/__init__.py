"""Where labelled texts come from."""
