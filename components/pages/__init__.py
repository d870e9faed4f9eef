"""Parts of every HTML page: charts, histograms, and the page of a verdict with its checks."""
