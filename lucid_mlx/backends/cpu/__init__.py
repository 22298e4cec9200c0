"""What a Linux CPU needs to be fast: BLAS, threads, vectorized functions, process settings."""
