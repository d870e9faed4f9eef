"""Pictures before they are a stage's: reading of files as people have them, crops, degradation and its blur kernels."""
