"""labpgt: training deep networks through physical devices, shot by shot."""
