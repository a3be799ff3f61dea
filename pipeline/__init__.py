"""One module per stage: paths and a recipe in, a finished folder out."""
