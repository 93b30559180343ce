"""Images for the tests: made with other people's tools, or byte by byte."""
