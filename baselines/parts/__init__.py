"""What several baselines share: projections, kernels, chunks, convolutions and recurrences."""
