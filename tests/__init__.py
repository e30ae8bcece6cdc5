"""The tests. unit/ mirrors the packages; repo/ is about the repository itself."""
