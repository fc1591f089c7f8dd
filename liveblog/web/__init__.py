"""Requests and answers: the map of addresses, the API, the pages, the live stream."""
