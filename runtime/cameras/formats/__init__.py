"""One file for each published camera format; `marotte.runtime.cameras` is the list of them."""
